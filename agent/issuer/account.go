package issuer

import (
	"crypto"
	"errors"

	"github.com/go-acme/lego/v4/acme"
)

// errNoAccount is an answer without the URL of an account.
var errNoAccount = errors.New("the CA names no account")

// register finds the account of the key or makes one: for a key that it knows, a
// CA answers with the account that there is (RFC 8555, section 7.3.1).
func (c *Client) register(key crypto.Signer) (string, error) {
	core, err := c.dial(key, "")
	if err != nil {
		return "", err
	}
	want := acme.Account{Contact: c.ca.Contact, TermsOfServiceAgreed: true}
	account, err := retried(func() (acme.ExtendedAccount, error) {
		if c.ca.EABKeyID != "" {
			return core.Accounts.NewEAB(want, c.ca.EABKeyID, string(c.ca.EABKey.Reveal()))
		}
		return core.Accounts.New(want)
	})
	if err != nil {
		return "", err
	}
	if account.Location == "" {
		return "", errNoAccount
	}
	return account.Location, nil
}
