module github.com/tlsfleet/tlsfleet/e2e/tools/pebble

go 1.26.8
