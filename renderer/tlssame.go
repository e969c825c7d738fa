package renderer

import "slices"

// Same reports whether both render the same configuration.
func (t TLSServers) Same(o TLSServers) bool {
	return t.Mode == o.Mode && t.Names == o.Names && t.ServerInclude == o.ServerInclude && t.Cache == o.Cache &&
		slices.Equal(t.Listen, o.Listen) && slices.Equal(t.rendered(), o.rendered())
}
