package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-acme/lego/v4/acme"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// noProfile is the problem type of a profile that a CA does not take
// (draft-ietf-acme-profiles, section 4).
const noProfile = "invalidProfile"

// suits refuses an item that its profile is not for, before the CA is asked.
func (c *Client) suits(ctx context.Context, it issuance.Item) error {
	if err := it.CheckProfile(c.ca.ProfileNames); err != nil {
		return at(issuance.StagePreflight, &Problem{Type: noProfile, Detail: fmt.Sprintf("CA %s: %v", c.ca.Name, err)})
	}
	return c.offered(ctx, it.Profile)
}

// offered refuses a profile that the CA's directory does not have, before the CA
// is asked: a CA without profiles would issue something else. The directory is read
// again first, because profiles come and go.
func (c *Client) offered(ctx context.Context, profile string) error {
	if profile == "" || has(c.Profiles(), profile) {
		return nil
	}
	dir, err := c.directory(ctx)
	if err != nil {
		return fmt.Errorf("read directory of CA %s: %w", c.ca.Name, err)
	}
	if has(dir.Meta.Profiles, profile) {
		return nil
	}
	return at(issuance.StagePreflight, &Problem{Type: noProfile, Detail: lacking(c.ca.Name, profile, dir.Meta.Profiles)})
}

func has(profiles map[string]string, profile string) bool {
	_, ok := profiles[profile]
	return ok
}

// lacking says what the CA has instead.
func lacking(ca, profile string, profiles map[string]string) string {
	names := slices.Sorted(maps.Keys(profiles))
	for i, name := range names {
		names[i] = strconv.QuoteToASCII(name[:min(len(name), 60)])
	}
	offers := "no profiles"
	if len(names) > 0 {
		offers = strings.Join(names, ", ")
	}
	return fmt.Sprintf("profile %q is not to be had: CA %s offers %s", profile, ca, offers)
}

// refused adds to the CA's refusal of a profile which ones there are.
func (c *Client) refused(profile string, err error) error {
	var p *Problem
	if !errors.As(err, &p) || p.Type != noProfile {
		return err
	}
	told := *p
	told.Detail = lacking(c.ca.Name, profile, c.Profiles()) + "; the CA says: " + p.Detail
	return &told
}

// directory reads the CA's directory as it is now (RFC 8555, section 7.1.1).
func (c *Client) directory(ctx context.Context) (dir acme.Directory, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.ca.Directory, http.NoBody)
	if err != nil {
		return dir, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return dir, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if err := json.NewDecoder(resp.Body).Decode(&dir); err != nil {
		return dir, fmt.Errorf("%w: %w", errAnswer, err)
	}
	return dir, nil
}
