package renderer

import (
	"strings"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// luaBlock reads the blocks of lua-nginx-module as Lua does. The parser's own
// reader takes quotes and braces in Lua comments for code, and one apostrophe
// there would hide the rest of the file.
type luaBlock struct{}

// luaDirectives are the directives whose block is Lua.
func luaDirectives() []string {
	var names []string
	for _, phase := range []string{
		"init", "init_worker", "exit_worker", "set", "content", "server_rewrite", "rewrite", "access", "precontent",
		"header_filter", "body_filter", "log", "balancer", "ssl_client_hello", "ssl_certificate", "ssl_session_fetch",
		"ssl_session_store", "proxy_ssl_certificate", "proxy_ssl_verify", "preread",
	} {
		names = append(names, phase+"_by_lua_block")
	}
	return names
}

// Lex implements crossplane.Lexer: the words before the block, then the block
// as one quoted token, then a semicolon.
func (luaBlock) Lex(s *crossplane.SubScanner, _ string) <-chan crossplane.NgxToken {
	tokens := make(chan crossplane.NgxToken)
	go func() {
		defer close(tokens)
		l := &luaReader{s: s}
		for {
			word, ok := l.word()
			if !ok {
				return
			}
			if word == "{" {
				break
			}
			tokens <- crossplane.NgxToken{Value: word, Line: s.Line()}
		}
		if body, ok := l.block(); ok {
			tokens <- crossplane.NgxToken{Value: body, Line: s.Line(), IsQuoted: true}
			tokens <- crossplane.NgxToken{Value: ";", Line: s.Line()}
		}
	}()
	return tokens
}

// luaReader reads characters with one to look ahead, and keeps what it read.
type luaReader struct {
	s      *crossplane.SubScanner
	ahead  string
	peeked bool
	text   strings.Builder
}

func (l *luaReader) peek() string {
	if !l.peeked {
		l.ahead, l.peeked = "", true
		if l.s.Scan() {
			l.ahead = l.s.Text()
		}
	}
	return l.ahead
}

// next is the next character; "" at the end of the file.
func (l *luaReader) next() string {
	c := l.peek()
	l.peeked = false
	l.text.WriteString(c)
	return c
}

// word is the next word outside of the block, or its opening brace.
func (l *luaReader) word() (string, bool) {
	var w strings.Builder
	for {
		c := l.peek()
		switch {
		case c == "":
			return "", false
		case c == "{" && w.Len() > 0, strings.TrimSpace(c) == "" && w.Len() > 0:
			return w.String(), true
		case c == "{":
			l.next()
			return c, true
		case strings.TrimSpace(c) != "":
			w.WriteString(c)
		}
		l.next()
	}
}

// block reads up to the brace that closes the block.
func (l *luaReader) block() (string, bool) {
	l.text.Reset()
	for depth := 1; depth > 0; {
		switch c := l.next(); c {
		case "":
			return "", false
		case "{":
			depth++
		case "}":
			depth--
		case `"`, "'":
			l.quoted(c)
		case "[":
			l.long()
		case "-":
			if l.peek() == "-" {
				l.next()
				l.comment()
			}
		}
	}
	return strings.TrimSuffix(l.text.String(), "}"), true
}

func (l *luaReader) quoted(quote string) {
	for {
		switch l.next() {
		case "", quote:
			return
		case `\`:
			l.next()
		}
	}
}

// comment reads what follows "--": a long bracket or the rest of the line.
func (l *luaReader) comment() {
	if l.peek() == "[" {
		l.next()
		if l.long() {
			return
		}
	}
	for c := l.peek(); c != "" && c != "\n"; c = l.peek() {
		l.next()
	}
}

// long reads what follows "[" if that opens a long bracket: [[ ]], [=[ ]=].
func (l *luaReader) long() bool {
	level := 0
	for ; l.peek() == "="; level++ {
		l.next()
	}
	if l.peek() != "[" {
		return false
	}
	l.next()
	end := "]" + strings.Repeat("=", level) + "]"
	from := l.text.Len()
	for l.next() != "" {
		if strings.HasSuffix(l.text.String()[from:], end) {
			return true
		}
	}
	return true
}
