package renderer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// errRefused means that a server ended the handshake.
var errRefused = errors.New("handshake refused")

// helloLeaf sends a ClientHello of TLS 1.2 with a server name that no TLS
// library would send ("" for none at all), and returns the leaf that is shown.
func helloLeaf(addr, sni string) (leaf string, err error) {
	return leafFor(addr, clientHello(serverNames(sni)))
}

// leafFor sends one record with a ClientHello and returns the leaf that is shown.
func leafFor(addr string, hello []byte) (leaf string, err error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write(hello); err != nil {
		return "", err
	}
	var flight []byte // handshake messages of the server
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(conn, head); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
				err = errRefused
			}
			return "", err
		}
		body := make([]byte, binary.BigEndian.Uint16(head[3:]))
		if _, err := io.ReadFull(conn, body); err != nil {
			return "", err
		}
		if head[0] != 22 {
			return "", fmt.Errorf("%w: record of type %d, %x", errRefused, head[0], body)
		}
		flight = append(flight, body...)
		if leaf := leafIn(flight); leaf != "" {
			return leaf, nil
		}
	}
}

// leafIn finds the first certificate in handshake messages (RFC 5246, section
// 7.4.2); "" if it is not there in full.
func leafIn(messages []byte) string {
	u24 := func(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }
	for len(messages) >= 4 {
		size := u24(messages[1:])
		if len(messages) < 4+size {
			return ""
		}
		if body := messages[4 : 4+size]; messages[0] == 11 && size > 6 {
			return string(body[6 : 6+u24(body[3:])])
		}
		messages = messages[4+size:]
	}
	return ""
}

// u16 is b with its length in two bytes in front.
func u16(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

// serverNames is the extension server_name for some names (RFC 6066, section
// 3); nil for none at all.
func serverNames(names ...string) (body []byte) {
	for _, n := range names {
		if n != "" {
			body = append(append(body, 0), u16([]byte(n))...)
		}
	}
	if body == nil {
		return nil
	}
	return u16(body)
}

// clientHello is one TLS record (RFC 5246, section 7.4.1.2) with a body of the
// extension server_name; nil for none.
func clientHello(serverName []byte) []byte {
	extension := func(kind uint16, body []byte) []byte {
		return append(binary.BigEndian.AppendUint16(nil, kind), u16(body)...)
	}
	var extensions []byte
	if serverName != nil {
		extensions = extension(0, serverName)
	}
	extensions = append(extensions, extension(10, u16([]byte{0, 23}))...)               // P-256
	extensions = append(extensions, extension(11, []byte{1, 0})...)                     // uncompressed points
	extensions = append(extensions, extension(13, u16([]byte{4, 3, 4, 1, 8, 4}))...)    // ECDSA and RSA with SHA-256
	body := append([]byte{3, 3}, make([]byte, 32)...)                                   // version, random
	body = append(body, 0)                                                              // no session
	body = append(body, u16([]byte{0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x23, 0xc0, 0x09})...) // ECDHE suites
	body = append(body, 1, 0)                                                           // no compression
	body = append(body, u16(extensions)...)
	hello := append([]byte{1, 0}, u16(body)...)
	return append([]byte{22, 3, 1}, u16(hello)...)
}
