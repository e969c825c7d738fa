package dns01

import (
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

var (
	// ErrCredentials means that a provider does not know who asks, or does not let
	// them.
	ErrCredentials = errors.New("the DNS provider refuses the credentials")
	// ErrZone means that a provider does not have the zone of a name.
	ErrZone = errors.New("the DNS provider has no zone for the name, or none that may be changed")
)

// What providers say in their errors, in lower case. lego has no types for it.
var (
	saysCredentials = []string{
		"notauth", "badkey", "badsig", "badtime", "bad authentication", "bad signature", "authentication error", "status code: 401", "status code: 403",
		"unauthorized", "forbidden", "accessdenied", "access denied", "invalid access token", "invalid request headers", "invalidclienttokenid", "signaturedoesnotmatch",
	}
	saysZone = []string{"notzone", "replied refused", "code=refused", "find the start of authority", "find zone", "zone for ", "zone not found", "zone could not be found"}
)

// explain says what an error of a provider means, where that is known.
func explain(err error) error {
	text := strings.ToLower(err.Error())
	says := func(words []string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.Is(err, dns.ErrAuth), errors.Is(err, dns.ErrSig), errors.Is(err, dns.ErrTime), says(saysCredentials):
		return fmt.Errorf("%w: %w", ErrCredentials, err)
	case says(saysZone):
		return fmt.Errorf("%w: %w", ErrZone, err)
	default:
		return err
	}
}
