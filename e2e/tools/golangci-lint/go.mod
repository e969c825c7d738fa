module github.com/tlsfleet/tlsfleet/e2e/tools/golangci-lint

go 1.26.8
