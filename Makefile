SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help build packages reproduce test race lint bench fuzz chaos hostile generate verify

module := github.com/duffy-ci/duffy
tool := go tool -modfile=.ci/tools/go.mod
# -count=1, since Go's cache knows nothing of the programs that tests run.
gotest := $(tool) gotestsum --format standard-quiet --post-run-command '.ci/parts report' -- -count=1 -timeout 30m

# What the programs call themselves.
VERSION ?= $(or $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null),devel)
BIN ?= bin

help: ## list these targets
	@sed -nE 's/^([a-z]+): .*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

build: ## build the programs into bin, the same bytes wherever that is done
	GOFLAGS=-mod=readonly GOEXPERIMENT= GOAMD64=v1 GOARM64=v8.0 CGO_ENABLED=0 go build -trimpath -buildvcs=auto \
		-ldflags '-s -w -X $(module).version=$(VERSION) -X main.version=$(VERSION)' -o $(BIN)/ ./cmd/duffy ./cmd/duffy-client

packages: ## make tarballs of them for Linux in dist, with checksums and bills of materials
	VERSION=$(VERSION) .ci/packages

reproduce: ## make the packages of the last commit twice, and compare them
	.ci/reproduce

test: ## run all tests; as root on Debian, install first what they need
	@.ci/parts install
	$(gotest) ./...

race: ## run all tests with the race detector
	@.ci/parts install
	CGO_ENABLED=1 $(gotest) -race ./...

lint: ## look for mistakes and untidiness
	@files=$$($(tool) gofumpt -l .) && if [ -n "$$files" ]; then echo "make these pass gofumpt:"; echo "$$files"; exit 1; fi
	go vet ./...
	$(tool) staticcheck ./...
	go mod tidy -diff
	go -C .ci/tools mod tidy -diff
	.ci/words
	.ci/vulnerabilities

bench: ## run all benchmarks and print their figures
	@.ci/parts install
	go test -run '^$$' -bench . -benchmem -timeout 60m \
		$$(grep -rlE '^func Benchmark' --include='*_test.go' . | xargs -r dirname | sort -u)

chaos: ## break everything at random (FOR=30m SEED=1 TEST=TestChaos), and print figures
	@.ci/parts install
	go test ./internal/chaos -run '^$(or $(TEST),TestChaos)$$' -count=1 -v -timeout 24h -chaos.for $(or $(FOR),30m) -chaos.seed $(or $(SEED),1)

hostile: ## have a tenant and a stranger do their worst, and print what another tenant notices (OPS=500)
	@.ci/parts install
	go test ./cmd/duffy -run '^$$' -bench '^BenchmarkHostile$$' -benchtime $(or $(OPS),500)x -timeout 60m

fuzz: ## run each fuzz test for 10 seconds, or FUZZTIME
	@for dir in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -r dirname | sort -u); do \
		for name in $$(grep -hoE '^func Fuzz\w+' $$dir/*_test.go | cut -d' ' -f2); do \
			go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(or $(FUZZTIME),10s) $$dir; \
		done; \
	done

generate: ## make generated files anew (so far there are none)
	go generate ./...

verify: lint test race ## run all that a change has to pass; examples are among the tests
