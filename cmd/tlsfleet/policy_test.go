package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestPolicyExamplesAreWhatPolicyPrints keeps packaging/consul true.
func TestPolicyExamplesAreWhatPolicyPrints(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"agent --fleet edge --node edge-1", "leader --fleet edge --node edge-1", "operator --fleet edge"} {
		role := strings.Fields(args)[0]
		want, err := os.ReadFile("../../packaging/consul/policy-" + role + ".hcl")
		if err != nil {
			t.Fatal(err)
		}
		var out, errOut bytes.Buffer
		code := run(t.Context(), append([]string{"tlsfleet", "policy"}, strings.Fields(args)...), strings.NewReader(""), &out, &errOut)
		if code != exitDone || out.String() != string(want) {
			t.Errorf("tlsfleet policy %s = %d, %s%s, want packaging/consul/policy-%s.hcl", args, code, errOut.String(), out.String(), role)
		}
	}
}
