.DEFAULT_GOAL := help
ARGS ?=

# The version that `worker version` tells; the commit comes from the build itself.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
export VERSION COMMIT

COMPOSE ?= docker compose

help: ## this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## worker dev: NATS, simulator and worker in one process; ARGS="--feed my.jsonl" for your own commands
	go run ./cmd/worker dev $(ARGS)

# What the program is built with: nothing, or openssl.
TAGS ?=

build: ## the program, into bin/worker; TAGS=openssl signs with OpenSSL (libcrypto 3, a C compiler), in a quarter to two fifths of the time
	CGO_ENABLED=$(if $(TAGS),1,0) go build -trimpath -tags "$(TAGS)" -ldflags "-X main.version=$(VERSION)" -o bin/worker ./cmd/worker

test: ## every test, with the race detector, in any order
	go test -race -shuffle=on -count=1 ./...

test-openssl: ## what differs where the program is built with OpenSSL
	go vet -tags openssl ./internal/opensslkey ./cmd/worker
	go test -tags openssl -race -shuffle=on -count=1 ./internal/opensslkey
	go test -tags openssl -race -count=1 -run 'TestVersion|TestRun|TestReload' ./cmd/worker

chaos: ## break real processes for as long as CHAOS says (default 2m) and compare all books; CHAOS_SEED repeats a schedule
	CHAOS=$(or $(CHAOS),2m) go test -count=1 -timeout 0 -v -run '^TestChaos$$' ./internal/chaos

fuzz: ## each fuzz target for FUZZTIME (default 30s)
	@for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(or $(FUZZTIME),30s) $$pkg || exit 1; \
		done; \
	done

lint: ## vet and staticcheck
	go vet ./...
	go tool staticcheck ./...

check-deploy: ## Prometheus' own parsers over deploy/prometheus and deploy/grafana; 800 MB of modules and two minutes the first time
	cd deploy/check && go vet ./... && go test -count=1 ./...

cover: ## statement coverage by function, the least covered last
	go test -coverprofile=cover.out -coverpkg=./... ./...
	go tool cover -func=cover.out | sort -k3 -rn

bench: ## the worker's speed beside a naive consumer, into bin/bench.txt; half an hour; ARGS="-only throughput -repeat 1" for a part
	go run ./internal/bench -out bin/bench.txt $(ARGS)

bench-compare: ## bin/bench.txt beside the saved internal/bench/baseline.txt
	go tool benchstat internal/bench/baseline.txt bin/bench.txt

# What a version is made of. Of one commit, the same Go version makes the same bytes in any folder on any machine: nothing of the
# environment gets in, and the SBOMs bear the commit's time.
PLATFORMS ?= linux/amd64 linux/arm64 darwin/arm64
release: export GOFLAGS = -trimpath
release: export GOAMD64 = v1
release: export GOARM64 = v8.0
release: export GOEXPERIMENT =
release: export CGO_ENABLED = 0
release: ## static binaries for PLATFORMS, an SBOM (CycloneDX) for each, SHA256SUMS, into dist; of a clean tree only
	@test -z "$$(git status --porcelain)" || { echo "release: there are changes that are not committed"; exit 1; }
	@test -d .git || { echo "release: needs a clone of its own: in a linked work tree Go tells no commit, and makes other bytes"; exit 1; }
	rm -rf dist && mkdir dist
	at=$$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd) && for platform in $(PLATFORMS); do \
		file=dist/worker_$(VERSION)_$${platform%/*}_$${platform#*/} && \
		GOOS=$${platform%/*} GOARCH=$${platform#*/} go build -buildvcs=true -ldflags "-X main.version=$(VERSION)" -o $$file ./cmd/worker && \
		go -C deploy/release tool cyclonedx-gomod bin -json -std -noserial -licenses -version $(VERSION) -output $(CURDIR)/dist/sbom $(CURDIR)/$$file && \
		sed "s/\"timestamp\": \"[^\"]*\"/\"timestamp\": \"$$at\"/" dist/sbom > $$file.cdx.json && rm dist/sbom || exit 1; \
	done
	cd dist && sha256sum * > SHA256SUMS && cat SHA256SUMS

image: ## the container image wxpay-worker, of this machine's architecture
	CGO_ENABLED=0 GOOS=linux go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/linux/worker ./cmd/worker
	docker build --file deploy/Dockerfile --build-arg VERSION --build-arg COMMIT --tag wxpay-worker --tag wxpay-worker:$(VERSION) .

# Passwords for docker-compose.yml, made once. The letter keeps NATS from reading one as a number.
.env:
	@(umask 077 && for name in $(addprefix NATS_PASSWORD_,ROUTE WORKER OPERATOR WATCHER PUBLISHER_1900000001) GRAFANA_PASSWORD; do \
		random=$$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n') && [ $${#random} = 32 ] && echo "$$name=p$$random" || exit 1; \
	done > .env.new) && mv .env.new .env && echo "made passwords: .env"

up: image .env ## docker compose: three NATS servers, two workers, the simulator, Prometheus, Grafana; ONLY="worker-1 worker-2" for a part
	$(COMPOSE) build
	$(COMPOSE) up --detach $(ONLY)
	@sed -n 's/^#   docker compose/next: docker compose/p' docker-compose.yml

down: .env ## stop what `make up` started, keeping its volumes
	$(COMPOSE) down

.PHONY: help run build test test-openssl chaos fuzz lint check-deploy cover bench bench-compare release image up down
