package agent

import (
	"fmt"
	"slices"
	"testing"
)

func TestKeptStaysWithinItsBound(t *testing.T) {
	k := newKept(100)
	for i := range 7 {
		if !k.add(fmt.Sprint(i), 10) {
			t.Fatalf("add() of %d = false, want room", i)
		}
	}
	if k.add("more", 10) || k.at["more"] != nil {
		t.Error("add() over three quarters of the bound = true, want false")
	}
	if !k.add("more", 5) || !k.add("3", 10) || k.add("3", 11) {
		t.Error("add() counts a name that is in as a new one")
	}
	if !k.full() {
		t.Error("full() = false with 75 of 100, want true")
	}
	k.touch("0")
	k.touch("nobody")
	if got, want := k.surplus(), []string{"1", "2"}; !slices.Equal(got, want) {
		t.Errorf("surplus() = %v, want the oldest %v", got, want)
	}
	for _, name := range []string{"1", "1", "2", "nobody"} {
		k.drop(name)
	}
	if k.full() || k.used != 55 || len(k.at) != k.order.Len() || len(k.surplus()) != 0 {
		t.Errorf("after drops: full %t, used %d, %d names, surplus %v, want 55 and nothing to evict", k.full(), k.used, len(k.at), k.surplus())
	}
	k.set("big", 500)
	if !k.full() || k.add("x", 1) {
		t.Error("set() beyond the bound leaves room, want none")
	}
	if got, want := k.surplus(), []string{"3", "4", "5", "6", "more", "0", "big"}; !slices.Equal(got, want) {
		t.Errorf("surplus() = %v, want %v", got, want)
	}
}
