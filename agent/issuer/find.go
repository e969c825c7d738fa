package issuer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/go-acme/lego/v4/acme"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// mostOrders is how many of an account's newest orders are looked at.
const mostOrders = 500

// find looks for an order of the item among those of the account (RFC 8555,
// section 7.1.2.1): a leader that died between asking for an order and noting
// its URL has left one. A CA that keeps no list gives back an unfinished order
// itself when it is asked for the same names again.
func (c *Client) find(ctx context.Context, it issuance.Item) (order acme.ExtendedOrder, ok bool, err error) {
	urls, err := c.orders(ctx)
	if err != nil {
		return acme.ExtendedOrder{}, false, fmt.Errorf("list orders: %w", err)
	}
	slices.Reverse(urls)
	for _, url := range urls[:min(len(urls), mostOrders)] {
		if err := ctx.Err(); err != nil {
			return acme.ExtendedOrder{}, false, err
		}
		order, err := retried(func() (acme.ExtendedOrder, error) { return c.core.Orders.Get(url) })
		if gone(err) {
			continue // the list is older than the order's end
		}
		if err != nil {
			return acme.ExtendedOrder{}, false, err
		}
		order.Location = url
		if c.ours(order, it) {
			return order, true, nil
		}
	}
	return acme.ExtendedOrder{}, false, nil
}

// ours reports whether an order can be the item's: unfinished, or finished with
// its key.
func (c *Client) ours(order acme.ExtendedOrder, it issuance.Item) bool {
	if !sameNames(order.Order, it.Names) {
		return false
	}
	switch order.Status {
	case acme.StatusPending, acme.StatusReady:
		return true
	case acme.StatusProcessing, acme.StatusValid:
		_, err := c.fetch(it, order)
		return err == nil
	default:
		return false
	}
}

// mostPages is how many pages of a list are read.
const mostPages = 1000

// orders lists the URLs of the account's orders, nothing if the CA keeps no
// list.
func (c *Client) orders(ctx context.Context) ([]string, error) {
	account, err := retried(func() (acme.Account, error) { return c.core.Accounts.Get(c.account) })
	if err != nil || account.Orders == "" {
		return nil, err
	}
	var urls []string
	page := account.Orders
	for range mostPages {
		more, err := c.page(page)
		if gone(err) {
			break // as good as no list
		}
		if err != nil {
			return nil, err
		}
		urls = append(urls, more...)
		next, ok := c.pages.after(page)
		if !ok {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		page = next
	}
	return urls, nil
}

// page reads a part of the list of orders.
func (c *Client) page(url string) ([]string, error) {
	// lego knows no such list, but its reader of certificates gives any answer
	// back as it is.
	body, err := retried(func() ([]byte, error) {
		body, _, err := c.core.Certificates.Get(url, true)
		return body, err
	})
	if err != nil {
		return nil, err
	}
	var list struct {
		Orders []string `json:"orders"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	}
	return list.Orders, nil
}
