SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 10s
TIMEOUT ?= 40m
SUITE ?= trixie
export GOWORK := off

# A tool is built from a module of its own, once per version and user:
# <cache>/<tool>-<version>/<binary>. agent/testkit looks there too.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tlsfleet/tools
version = $(shell awk '$$1 == "$(2)" { print substr($$2, 2) }' e2e/tools/$(1)/go.mod)
CONSUL := $(CACHE)/consul-$(call version,consul,github.com/hashicorp/consul)/consul
PEBBLE := $(CACHE)/pebble-$(call version,pebble,github.com/letsencrypt/pebble/v2)/pebble
CHALLTESTSRV := $(dir $(PEBBLE))pebble-challtestsrv
VERSITYGW := $(CACHE)/versitygw-$(call version,versitygw,github.com/versity/versitygw)/versitygw
TEMPLATE := $(CACHE)/consul-template-$(call version,consul-template,github.com/hashicorp/consul-template)/consul-template
NFPM := $(CACHE)/nfpm-$(call version,nfpm,github.com/goreleaser/nfpm/v2)/nfpm
LINT := $(CACHE)/golangci-lint-$(call version,golangci-lint,github.com/golangci/golangci-lint/v2)/golangci-lint

# Built beside its place and renamed, so that nobody ever sees half a tool.
build_tool = mkdir -p $(@D) && cd e2e/tools/$(1) && go build -trimpath -o $@.$$$$ $(2) && mv $@.$$$$ $@

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9 -]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/tlsfleet, one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/tlsfleet ./cmd/tlsfleet

# The same bytes for the same commit.
build_packages = for arch in amd64 arm64; do NFPM=$(NFPM) VERSION='$(VERSION)' packaging/build $@ $$arch; done

.PHONY: deb
deb: $(NFPM) ## build Debian packages for amd64 and arm64 into bin/packages
	$(build_packages)

.PHONY: rpm
rpm: $(NFPM) ## build RPM packages for amd64 and arm64 into bin/packages
	$(build_packages)

.PHONY: deps
deps: ## install nginx and what else the tests need by apt, if it is missing
	@.ci/deps

.PHONY: tools
tools: $(CONSUL) $(PEBBLE) $(CHALLTESTSRV) $(VERSITYGW) $(TEMPLATE) $(NFPM) $(LINT) ## build Consul, Pebble, versitygw, consul-template, nfpm and golangci-lint into the user's cache folder

$(CONSUL):
	$(call build_tool,consul,github.com/hashicorp/consul)

$(PEBBLE) $(CHALLTESTSRV):
	$(call build_tool,pebble,github.com/letsencrypt/pebble/v2/cmd/$(@F))

$(VERSITYGW):
	$(call build_tool,versitygw,github.com/versity/versitygw/cmd/versitygw)

$(TEMPLATE):
	$(call build_tool,consul-template,github.com/hashicorp/consul-template)

$(NFPM):
	$(call build_tool,nfpm,github.com/goreleaser/nfpm/v2/cmd/nfpm)

$(LINT):
	$(call build_tool,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint)

.PHONY: test
test: deps deps-packages build $(CONSUL) $(PEBBLE) $(CHALLTESTSRV) $(VERSITYGW) $(TEMPLATE) $(NFPM) ## run all tests of both modules on real Consul and nginx
	rc=0; go test -race -timeout $(TIMEOUT) ./... || rc=$$?; \
	go test -timeout $(TIMEOUT) -tags dns_cloud ./agent/issuer/dns01 || rc=$$?; \
	cd e2e; go test -race -p 1 -timeout $(TIMEOUT) ./... || rc=$$?; \
	echo 'Left out, SKIPPED: packages in a machine that boots (make e2e-packages), the nginx of another suite (make e2e-nginx).'; exit $$rc

.PHONY: deps-packages
deps-packages: ## install zsh, fish, lintian, rpm, rpmlint and systemd by apt, if they are missing
	@.ci/deps-packages

.PHONY: e2e-packages
e2e-packages: deps-packages deps-suite $(CONSUL) $(NFPM) ## install, upgrade and remove the packages in a booted Debian (systemd-nspawn)
	TIMEOUT=$(TIMEOUT) RUN='$(RUN)' .ci/packages

.PHONY: deps-suite
deps-suite: ## install debootstrap by apt, if it is missing
	@.ci/deps-suite

.PHONY: e2e-nginx
e2e-nginx: deps-suite $(CONSUL) ## run the nginx part of the tests on the nginx of another Debian suite: SUITE=trixie
	TIMEOUT=$(TIMEOUT) RUN='$(RUN)' .ci/suite $(SUITE)

.PHONY: lint
lint: $(LINT) ## run the linters on both modules, check gofmt and go.mod
	$(LINT) run ./...
	cd e2e && $(LINT) run ./...
	go vet -tags dns_cloud ./agent/issuer/dns01 ./cmd/tlsfleet
	go mod tidy -diff
	cd e2e && go mod tidy -diff

.PHONY: demo
demo: deps $(CONSUL) $(PEBBLE) $(CHALLTESTSRV) build ## run three nodes behind a balancer, rotate keys, renew and obtain certificates; ARGS=--once ends after the tour
	cd e2e && go run ./demo $(ARGS)

.PHONY: bench-rotation
bench-rotation: deps $(CONSUL) build ## measure resumptions lost while ticket keys rotate
	cd e2e && go run ./bench/rotation $(ARGS)

.PHONY: bench-change
bench-change: deps $(CONSUL) $(TEMPLATE) build ## measure what one changed certificate costs, beside consul-template
	cd e2e && go run ./bench/change -consul-template $(TEMPLATE) $(ARGS)

.PHONY: bench-memory
bench-memory: deps $(CONSUL) build ## measure the memory of an agent that follows 100 certificates and shows its dashboard
	cd e2e && go run ./bench/change -n 100 -contestant tlsfleet -pages -idle 20s $(ARGS)

.PHONY: bench-swap
bench-swap: deps ## count handshakes that fail while certificates are renewed 1,000 times a second
	cd e2e && go run ./bench/swap $(ARGS)

.PHONY: bench-handshake
bench-handshake: deps ## measure nginx's CPU per handshake, its reload and its memory in each mode
	cd e2e && go run ./bench/handshake $(ARGS)

.PHONY: bench-fanout
bench-fanout: deps $(CONSUL) ## measure how long one changed certificate takes to reach 200 nodes
	cd e2e && go run ./bench/fanout $(ARGS)

.PHONY: bench-issue
bench-issue: deps $(CONSUL) $(PEBBLE) $(CHALLTESTSRV) build ## measure how fast certificates are obtained, beside lego and certmagic, and that each is obtained once
	cd e2e && go run ./bench/issue $(ARGS)

.PHONY: bench-renew
bench-renew: deps $(CONSUL) $(PEBBLE) $(CHALLTESTSRV) build ## measure how long a renewed certificate takes to be served by three nodes
	cd e2e && go run ./bench/renew $(ARGS)

.PHONY: bench-restore
bench-restore: deps $(CONSUL) $(PEBBLE) $(CHALLTESTSRV) build ## measure how long a fleet that has lost everything takes to have all its certificates back
	cd e2e && go run ./bench/restore $(ARGS)

.PHONY: bench-planner
bench-planner: ## show whose turn it is under a CA's limits, in virtual time
	cd e2e && go run ./bench/planner

.PHONY: bench-dashboard
bench-dashboard: deps $(CONSUL) build ## measure when the dashboard shows 50 nodes and 10,000 names, and a page of 100,000
	cd e2e && TLSFLEET_BINARY=$(CURDIR)/bin/tlsfleet go test -count=1 -v -run '^TestDashboardOpensAtOnce$$' . | grep -o 'bench=.*'
	go test ./agent -run '^$$' -bench '^BenchmarkNamePage$$' -benchtime 50x | awk '/^BenchmarkNamePage/ {sub(/.*\//, "", $$1); sub(/-[0-9]+$$/, "", $$1); printf "bench=names who=tlsfleet names=100000 search=%s page_ms=%.1f\n", $$1, $$3 / 1e6}'

.PHONY: bench-sites
bench-sites: ## measure how long the files of 1,000 sites take, with their own checks
	go test ./renderer -run '^$$' -bench '^BenchmarkRenderSites$$' -benchtime 5x | awk '/^BenchmarkRenderSites/ {printf "bench=sites who=tlsfleet sites=1000 render_ms=%s\n", $$5}'

.PHONY: bench-reloads
bench-reloads: deps $(CONSUL) $(TEMPLATE) build ## count reloads and failed requests while backends and a certificate change all the time, beside consul-template
	cd e2e && go run ./bench/reloads -consul-template $(TEMPLATE) $(ARGS)

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (10s)
	.ci/fuzz $(FUZZTIME)

.PHONY: clean
clean: ## remove what was built here; tools in the cache folder stay
	rm -rf bin
