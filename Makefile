# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) daemonless.isolation contributors

.PHONY: help setup setup-controller lint format test test-unit test-integration test-machine test-fleet test-localhost test-cgroup test-power test-inside test-network test-probe test-supervision bench demo demo-down clean
.DEFAULT_GOAL := help
SHELL := /bin/bash

top := $(CURDIR)
bin := $(top)/.venv/bin
export ANSIBLE_COLLECTIONS_PATH := $(top)/.build/collections
export DEMO_PORT ?= 8080
# Arguments for pytest or molecule, as in: make test-unit ARGS="-k portmap"
ARGS ?=

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  %-18s %s\n' "$$name" "$$text"; done

setup: ## virtual environment with everything for development and tests
	@tests/tools/setup dev

setup-controller: ## virtual environment with ansible-core alone, as the demo needs it
	@tests/tools/setup controller

lint: setup ## static checks: ruff, mypy, yamllint, ansible-lint, shellcheck, ansible-test sanity
	@tests/tools/lint $(ARGS)

format: setup ## format the Python files
	@$(bin)/ruff format . && $(bin)/ruff check --fix --quiet .

test: setup ## everything: lint, machine, network, unit, integration (root; about 40 minutes on two CPUs)
	@tests/tools/all

test-unit: setup ## planners and specs; any user, nothing needed
	@$(bin)/pytest -n 2 tests/unit $(ARGS)

test-integration: setup ## modules on this kernel, in namespaces of their own (root)
	@$(bin)/pytest -n 4 --dist worksteal --reruns 1 -r fER tests/integration $(ARGS)

test-machine: setup ## deploy, reboot and check on a Debian machine in QEMU (root for its first image)
	@tests/machine/molecule test $(ARGS)

test-fleet: setup ## rollouts to three such machines that go wrong: bad releases, cut connections, killed plays, reboots (FLEET_KILLS=20 for the long version)
	@tests/machine/molecule test -s fleet $(ARGS)

test-localhost: setup ## the services of test-machine on this machine itself, in namespaces of their own: no virtual machine, two minutes (root)
	@tests/machine/localhost $(ARGS)

test-cgroup: setup ## limits of slices by systemd and by control group files on such a machine; ARGS=trixie for Debian 13
	@tests/machine/cgroup-slice $(ARGS)

test-power: setup ## cut the power of such a machine at random moments of a run, and look at what it has then; ARGS="bookworm ROUNDS SEED"
	@tests/machine/power $(ARGS)

test-inside: setup ## go over ssh to such a machine, and from there into its services; ARGS=trixie for Debian 13
	@tests/machine/inside $(ARGS)

test-network: setup ## flush the ruleset of such a machine under a scan, restart managers of networks; ARGS=trixie for Debian 13
	@tests/machine/network $(ARGS)

test-probe: setup ## what services can reach on such a machine, compared with docs/isolation.md; ARGS=trixie for Debian 13
	@tests/machine/probe $(ARGS)

test-supervision: setup ## ten services as units of systemd on such a machine, through health, reloads, crashes and a reboot; ARGS=trixie for Debian 13
	@tests/machine/supervision $(ARGS)

bench: ## ports, root filesystems, services and whole playbooks beside those of Docker and Podman (root; ARGS=--quick, ARGS=converge)
	@benchmarks/run $(ARGS)

demo: setup-controller ## run an isolated web service on this machine, published on DEMO_PORT (root)
	@demo/up

demo-down: setup-controller ## take the demo back (root)
	@demo/down

clean: ## remove what setup and the tests made in the checkout
	rm -rf .ansible .build .hypothesis .mypy_cache .pytest_cache .ruff_cache .venv
