"""docker-compose.yml runs what the code offers: its commands, variables, ports and server settings are the code's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from gateway.cli import root
from gateway.engines import ValkeyServer
from gateway.engines.postgres import MAX_CONNECTIONS
from gateway.engines.resolve import POSTGRES_MAJOR
from gateway.settings import Settings
from gateway.tracing import ENDPOINTS, FLUSH_MS
from gateway.up.supervisor import DATABASE_ROLES
from tests.tidy.source import ROOT
from workers.calls import SETTLE_S

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
PROCESSES = ("api", "worker", "billing", "migrate")
# Read by name where they are needed, not part of the settings object.
READ_BY_NAME = {"FORWARDED_ALLOW_IPS", *ENDPOINTS, *(f"{role.upper()}_DB_PASSWORD" for role in DATABASE_ROLES.values())}


@pytest.mark.parametrize("name", PROCESSES)
def test_each_process_runs_a_command_that_exists(name: str) -> None:
    (command,) = SERVICES[name]["command"]
    group = root()
    assert group.get_command(click.Context(group), command) is not None


@pytest.mark.parametrize("name", PROCESSES)
def test_each_variable_is_one_that_the_code_reads(name: str) -> None:
    fields = {f"WONROUTER_{field.upper()}" for field in Settings.model_fields} | {"DATABASE_URL", "REDIS_URL"}
    assert set(SERVICES[name]["environment"]) - fields - READ_BY_NAME == set()


@pytest.mark.parametrize("role", DATABASE_ROLES)
def test_each_process_connects_as_its_own_role(role: str) -> None:
    environment = SERVICES[role]["environment"]
    assert environment["DATABASE_URL"].startswith(f"postgresql://{DATABASE_ROLES[role]}:")
    assert environment["REDIS_URL"] == SERVICES["migrate"]["environment"]["REDIS_URL"]


def test_health_checks_ask_the_ports_that_the_processes_listen_on() -> None:
    front = COMPOSE["configs"]["front"]["content"]
    port = SERVICES["api"]["environment"]["WONROUTER_PORT"]
    assert f"127.0.0.1:{port}/readyz" in SERVICES["api"]["healthcheck"]["test"][-1]
    assert f"server api:{port} resolve;" in front
    published = SERVICES["front"]["ports"][0].rpartition(":")[2]
    assert f"listen {published};" in front
    for name in ("worker", "billing"):
        port = SERVICES[name]["environment"]["WONROUTER_METRICS_PORT"]
        assert f"127.0.0.1:{port}/readyz" in SERVICES[name]["healthcheck"]["test"][-1]


def test_every_service_that_runs_on_has_a_health_check() -> None:
    assert [name for name, service in SERVICES.items() if "healthcheck" not in service] == ["migrate"]


def test_scaled_services_publish_no_port_and_have_no_fixed_name() -> None:
    for name in ("api", "worker"):
        assert not {"ports", "container_name"} & SERVICES[name].keys()


def test_servers_are_those_the_tests_run_on() -> None:
    assert SERVICES["postgres"]["image"] == f"postgres:{POSTGRES_MAJOR}"
    assert f"max_connections={MAX_CONNECTIONS}" in SERVICES["postgres"]["command"]
    assert re.fullmatch(r"valkey/valkey:9\S*", SERVICES["redis"]["image"])


def test_redis_is_set_up_as_on_one_machine(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path, log=tmp_path / "log", password="p")
    own = {"bind", "port", "requirepass", "dir"}

    def settings(text: str) -> set[str]:
        return {line.strip() for line in text.splitlines() if line.strip() and line.split()[0] not in own}

    assert settings(COMPOSE["configs"]["redis"]["content"]) == settings(server._configuration())


def test_nothing_secret_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    defaults = re.findall(r"\$\{(\w*(?:PASSWORD|SECRET)\w*):-(.*?)\}", text)
    assert defaults == [
        ("WONROUTER_SECRETS_ACCEPTED", ""),
        ("WONROUTER_HASH_SECRET", ""),
    ]  # most installations have none


@pytest.mark.parametrize("name", ["api", "worker", "billing"])
def test_containers_are_given_the_time_that_draining_takes(name: str) -> None:
    grace = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    drain = Settings.model_fields["drain_s"].default
    assert grace > drain + SETTLE_S + FLUSH_MS / 1000


def test_metrics_are_for_prometheus_alone() -> None:
    front = COMPOSE["configs"]["front"]["content"]
    assert re.search(r"location = /metrics \{\s*return 404;", front)
    [scrape] = yaml.safe_load((ROOT / "docs/monitoring/prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    [found] = scrape["dns_sd_configs"]
    for name in found["names"]:
        assert SERVICES[name]["environment"]["WONROUTER_METRICS_PORT"] == str(found["port"])
