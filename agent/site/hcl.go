package site

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// FileHCL is sites as a file in HCL, with every setting, which Parse reads.
func FileHCL(sites []Site) ([]byte, error) {
	var out bytes.Buffer
	for i, s := range sites {
		if i > 0 {
			out.WriteByte('\n')
		}
		text, err := json.Marshal(s)
		if err != nil {
			return nil, fmt.Errorf("write site %s: %w", s.ID, err)
		}
		fmt.Fprintf(&out, "site %q {\n", s.ID)
		if err := writeBlock(&out, text, "  "); err != nil {
			return nil, fmt.Errorf("write site %s: %w", s.ID, err)
		}
		out.WriteString("}\n")
	}
	return out.Bytes(), nil
}

// writeBlock writes an object in JSON as the inside of a block, in its order:
// objects in it are blocks, and all other values are spelled alike in HCL,
// because no value of a site that is usable has a '$' or a '%'.
func writeBlock(out *bytes.Buffer, object []byte, indent string) error {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil { // {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		if value[0] != '{' {
			fmt.Fprintf(out, "%s%s = %s\n", indent, name, bytes.ReplaceAll(value, []byte(`","`), []byte(`", "`)))
			continue
		}
		fmt.Fprintf(out, "%s%s {\n", indent, name)
		if err := writeBlock(out, value, indent+"  "); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s}\n", indent)
	}
	return nil
}
