"""The configuration: the seed's files, precedence, secrets, and the messages for wrong values."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import json5
import jsonschema
import pytest
from support import SIMULATED

from swarm_graph.config import SwarmConfig, changed_settings, config_schema, load_config
from swarm_graph.errors import ConfigError
from swarm_graph.models.keys import api_key
from swarm_graph.models.pool import chat_model
from swarm_graph.state import AgentRole

SEED = """
{
  "model_config": {
    "mode": "multi",  // "single" or "multi"

    "single_model": {
      "url": "http://localhost:1234/v1",
      "model": "qwen2.5-coder:7b",
      "api_type": "openai",  // "openai" or "ollama"
      "timeout": 7200
    },

    "multi_model": {
      "coder": {
        "url": "http://localhost:1234/v1",
        "model": "openai/gpt-oss-20b",
        "model_name": "GPT-OSS-20B (Display name)",
        "api_type": "openai",
        "timeout": 7200
      },
      "reviewer": {
        "url": "http://localhost:11434",
        "model": "qwen2.5-coder:7b",
        "model_name": "Qwen Coder",
        "api_type": "ollama",
        "timeout": 7200
      }
      // ... other agents
    }
  },
  "agent_parameters": {
    "coder": {
      "temperature": 0.5,     // Lower = more deterministic
      "max_tokens": 6000,     // Max response length
      "top_p": 0.85          // Nucleus sampling
    },
    "reviewer": {
      "temperature": 0.8,
      "max_tokens": 3000,
      "top_p": 0.95,
    }
  },
  "workflow": {
    "max_iterations": 3,           // Max review cycles
    "max_parallel_agents": 4,      // Max concurrent agents
    "enable_parallel": true,       // Enable parallel execution
    "verbose_logging": true        // Detailed logs
  },
  "features": {
    "enable_checkpointing": true
  },
}
"""


def from_text(folder: Path, text: str, **environ: str) -> SwarmConfig:
    path = folder / "config.json"
    path.write_text(text)
    return load_config(path, environ=environ)


def test_the_seed_s_file_is_accepted_unchanged(tmp_path: Path) -> None:
    config = from_text(tmp_path, SEED)
    coder, reviewer = config.model_for(AgentRole.CODER), config.model_for(AgentRole.REVIEWER)
    assert (coder.model, coder.label, coder.timeout) == (
        "openai/gpt-oss-20b",
        "GPT-OSS-20B (Display name)",
        7200,
    )
    assert (reviewer.api_type, reviewer.server) == ("ollama", "http://localhost:11434")
    assert config.model_for(AgentRole.TESTER).model == "qwen2.5-coder:7b"
    parameters = config.parameters_for(AgentRole.CODER)
    assert (parameters.temperature, parameters.max_tokens, parameters.top_p) == (0.5, 6000, 0.85)
    assert config.workflow.verbose_logging
    assert config.workflow.parallel == 4
    assert config.features.enable_checkpointing


@pytest.mark.parametrize(
    "text",
    [
        '{"workflow": {"enable_parallel": false, "max_parallel_agents": 1}}',
        '{"workflow": {"enable_parallel": false  // Disable parallel execution\n}}',
        '{"features": {"enable_checkpointing": true}}',
        "\ufeff{}",
        "/* nothing */ {}",
    ],
)
def test_the_seed_s_shorter_snippets_are_accepted_too(text: str, tmp_path: Path) -> None:
    assert from_text(tmp_path, text).workflow.parallel in (1, 4)


def test_the_seed_s_file_fits_the_schema() -> None:
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(json5.loads(SEED))
    wrong = {"workflow": {"max_iterations": 0}, "model_config": {"mode": "both"}}
    assert sorted(error.json_path for error in validator.iter_errors(wrong)) == [
        "$.model_config.mode",
        "$.workflow.max_iterations",
    ]


def test_every_sampling_setting_reaches_the_model() -> None:
    settings = json.loads(json.dumps(SIMULATED))
    settings["model_config"] = {
        "mode": "multi",
        "single_model": {"url": "http://localhost:1/v1", "model": "m"},
        "multi_model": {"reviewer": {"url": "http://localhost:2", "model": "n", "api_type": "ollama"}},
    }
    sampling = {"temperature": 0.1, "max_tokens": 77, "top_p": 0.5, "seed": 9}
    settings["agent_parameters"] = {
        "coder": {**sampling, "reasoning": "low", "extra_body": {"x": 1}},
        "tester": {"reasoning": False},
        "reviewer": {**sampling, "num_ctx": 2048, "keep_alive": "5m", "reasoning": True},
    }
    config = load_config(settings, environ={})

    async def models() -> tuple[Any, Any, Any]:
        roles = (AgentRole.CODER, AgentRole.TESTER, AgentRole.REVIEWER)
        coder, tester, reviewer = (
            chat_model(config.model_for(role), config.parameters_for(role)) for role in roles
        )
        return coder, tester, reviewer

    coder, tester, reviewer = asyncio.run(models())
    assert (coder.temperature, coder.top_p, coder.seed) == (0.1, 0.5, 9)
    assert coder.extra_body == {"x": 1, "max_tokens": 77, "reasoning_effort": "low"}
    assert coder.max_retries == 0
    assert tester.extra_body["chat_template_kwargs"] == {"enable_thinking": False}
    assert (reviewer.temperature, reviewer.top_p, reviewer.seed) == (0.1, 0.5, 9)
    assert (reviewer.num_predict, reviewer.num_ctx, reviewer.keep_alive) == (77, 2048, "5m")
    assert reviewer.reasoning is True


def test_roles_have_defaults_of_their_own() -> None:
    config = load_config(SIMULATED, environ={})
    assert config.parameters_for(AgentRole.CODER).temperature == 0.4
    assert config.parameters_for(AgentRole.REVIEWER).max_tokens == 3000


def test_precedence_is_overrides_environment_file_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"workflow": {"max_iterations": 5, "max_parallel_agents": 6}}')
    environ = {"SWARM_WORKFLOW__MAX_ITERATIONS": "7", "SWARM_WORKFLOW__ENABLE_PARALLEL": "false"}
    path = tmp_path / "config.json"
    workflow = load_config(path, environ=environ).workflow
    assert (workflow.max_iterations, workflow.max_parallel_agents, workflow.parallel) == (7, 6, 1)
    overridden = load_config(path, environ=environ, overrides={"workflow": {"max_iterations": 9}})
    assert overridden.workflow.max_iterations == 9
    assert load_config({}, environ={}).workflow.max_iterations == 3
    ready = load_config(path, environ=environ)
    assert load_config(ready) is ready
    again = load_config(ready, overrides={"workflow": {"max_iterations": 9}})
    assert (again.workflow.max_iterations, again.workflow.parallel) == (9, 1)


def test_the_environment_sets_what_a_file_can_set() -> None:
    environ = {
        "SWARM_MODEL_CONFIG__SINGLE_MODEL__URL": "http://localhost:1/v1",
        "SWARM_MODEL_CONFIG__SINGLE_MODEL__MODEL": "m",
        "SWARM_AGENT_PARAMETERS__CODER__TEMPERATURE": "0.25",
        "SWARM_WORKFLOW__REVIEWERS": '["style"]',
        "SWARM_PROMPTS_DIR": "2024",
        "SWARM_PROXY": "http://localhost:3128",
        "SWARM_UNRELATED": "1",
        "OTHER_WORKFLOW__MAX_ITERATIONS": "0",
    }
    config = load_config({}, environ=environ)
    assert config.model_for(AgentRole.CODER).model == "m"
    assert config.parameters_for(AgentRole.CODER).temperature == 0.25
    assert config.workflow.reviewers == ["style"]
    assert (config.prompts_dir, config.proxy) == ("2024", "http://localhost:3128")


def test_the_message_for_a_wrong_value_names_its_layer(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"workflow": {"max_iterations": 5}}')
    for name, where in {"MAX_ITERATIONS": "the environment", "MAX_ITERATION": "the environment"}.items():
        with pytest.raises(ConfigError, match=rf"^{where}: workflow\.{name.lower()}: "):
            load_config(path, environ={f"SWARM_WORKFLOW__{name}": "many"})
    with pytest.raises(ConfigError, match=r"^the command line: workflow\.max_iterations: 0 is not allowed"):
        load_config(path, environ={}, overrides={"workflow": {"max_iterations": 0}})


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"workflow": {"max_iterations": 8}}')
    assert load_config(environ={"SWARM_CONFIG": str(path)}).workflow.max_iterations == 8


def test_an_unknown_key_that_resembles_no_other_warns_once() -> None:
    with pytest.warns(UserWarning, match=r"config: workflow.colour: unknown key, it has no effect") as caught:
        load_config({"workflow": {"colour": "blue"}}, environ={})
    assert len(caught) == 1


def test_the_schema_key_for_editors_is_not_an_unknown_key() -> None:
    config = load_config({"$schema": "swarm.schema.json", "workflow": {"max_iterations": 2}}, environ={})
    assert config.redacted() == {"workflow": {"max_iterations": 2}}


def test_a_redacted_configuration_has_no_secret_of_extra_body() -> None:
    own = {"api_key": "sk-1", "nested": {"Password": "sk-2", "top_k": 3}, "list": [{"auth": "sk-3"}]}
    config = load_config({"agent_parameters": {"coder": {"extra_body": own}}}, environ={})
    kept = {"nested": {"top_k": 3}, "list": [{}]}
    assert config.redacted() == {"agent_parameters": {"coder": {"extra_body": kept}}}


def test_an_unknown_key_is_dropped() -> None:
    entry = {"url": "http://localhost:1/v1", "model": "m", "password": "sk-secret"}
    with pytest.warns(UserWarning, match="unknown key") as caught:
        config = load_config({"model_config": {"single_model": entry}, "sécret\n": "sk-secret"}, environ={})
    assert [str(warning.message) for warning in caught] == [
        r"config: sécret\n: unknown key, it has no effect",
        "config: model_config.single_model.password: unknown key, it has no effect",
    ]
    assert "sk-secret" not in repr(config) + config.model_dump_json()


def test_a_key_never_appears_in_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    entry = {"url": "http://localhost:1/v1", "model": "m", "api_key_env": "MY_KEY"}
    config = load_config({"model_config": {"single_model": entry}}, environ={})
    assert api_key(config.model_for(AgentRole.CODER)) == "sk-secret"
    assert "sk-secret" not in repr(config) + config.model_dump_json()


def test_reviewers_are_a_list_for_all_or_an_object_per_workflow() -> None:
    everywhere = load_config({"workflow": {"reviewers": ["style"]}}, environ={}).workflow
    assert (everywhere.focuses("full"), everywhere.focuses("standard")) == (["style"], ["style"])
    one = load_config({"workflow": {"reviewers": {"full": ["style"]}}}, environ={}).workflow
    assert (one.focuses("full"), one.focuses("standard")) == (["style"], None)


def test_simulated_replaces_every_model_that_is_not_simulated() -> None:
    real = load_config({"model_config": {"single_model": {"url": "http://x/v1", "model": "m"}}}, environ={})
    assert real.simulated().model_for(AgentRole.CODER).api_type == "simulated"
    own = json.loads(json.dumps(SIMULATED))
    own["model_config"]["single_model"]["simulation"] = {"seed": 4}
    assert load_config(own, environ={}).simulated().model_for(AgentRole.CODER).simulation.seed == 4
    assert load_config({}, environ={}).simulated().model_for(AgentRole.CODER).api_type == "simulated"


@pytest.mark.parametrize(("mode", "seed"), [("multi", 5), ("single", 0)])
def test_simulated_keeps_the_simulations_that_the_mode_uses(mode: str, seed: int) -> None:
    server = {"url": "http://localhost:1/v1", "model": "m"}
    simulation = {"model": "s", "api_type": "simulated", "simulation": {"seed": 5}}
    entries = {"coder": simulation, "tester": server}
    settings = {"model_config": {"mode": mode, "single_model": server, "multi_model": entries}}
    config = load_config(settings, environ={}).simulated()
    assert {config.model_for(role).api_type for role in AgentRole} == {"simulated"}
    assert config.model_for(AgentRole.CODER).simulation.seed == seed


def test_the_schema_uses_the_file_s_names() -> None:
    schema = config_schema()
    assert {"model_config", "agent_parameters", "workflow", "features"} <= set(schema["properties"])


def entry(**more: Any) -> dict[str, Any]:
    return {"model_config": {"single_model": {"url": "http://localhost:1/v1", "model": "m", **more}}}


def server(**more: Any) -> dict[str, Any]:
    return {"mcp_servers": {"plant": {"command": "plant-server", **more}}}


WRONG: list[tuple[Any, str]] = [
    ({"workflow": 3}, r"workflow: 3 is not allowed: "),
    (
        {"workflow": {"max_iterations": 101}},
        r"workflow.max_iterations: 101 is not allowed: .*less than or equal",
    ),
    ({"workflow": {"max_iterations": 1.5}}, r"workflow.max_iterations: 1.5 is not allowed"),
    ({"workflow": {"enable_parallel": "perhaps"}}, r'workflow.enable_parallel: "perhaps" is not allowed'),
    (
        {"workflow": {"reviewers": []}},
        r"workflow.reviewers: \[\] is not allowed: expected at least one focus",
    ),
    ({"workflow": {"reviewers": ["style", "style"]}}, r"workflow.reviewers: .*none twice"),
    ({"workflow": {"reviewers": ["../x"]}}, r"workflow.reviewers.*is not allowed"),
    ({"workflow": {"verbose_loging": True}}, r"workflow.verbose_loging: .*did you mean 'verbose_logging'"),
    ({"featurs": {}}, r"featurs: unknown key; did you mean 'features'"),
    ({"features": {"enable_checkpoint": True}}, r"did you mean 'enable_checkpointing'"),
    ({"agent_parameters": {"coder": {"max_token": 3}}}, r"agent_parameters.coder.max_token: .*'max_tokens'"),
    ({"agent_parameters": {"cook": {}}}, r"unknown role 'cook'; known roles: architect"),
    (
        {"memory": {"recall": {"architekt": 4}}},
        r"memory\.recall: unknown role 'architekt'; did you mean 'architect'",
    ),
    ({"agent_parameters": {"coder": {"top_p": 0}}}, r"agent_parameters.coder.top_p: 0 is not allowed"),
    ({"agent_parameters": {"coder": {"temperature": float("nan")}}}, r"agent_parameters.coder.temperature"),
    (
        {"agent_parameters": {"coder": {"max_tokens": 0}}},
        r"agent_parameters.coder.max_tokens: 0 is not allowed",
    ),
    ({"agent_parameters": {"coder": {"reasoning": "huge"}}}, r"agent_parameters.coder.reasoning"),
    ({"model_config": {"mode": "both"}}, r'model_config.mode: "both" is not allowed: .*single.*multi'),
    ({"model_config": {"multi_model": {"revewer": {}}}}, r"unknown role 'revewer'; did you mean 'reviewer'"),
    (entry(timeout=0), r"model_config.single_model.timeout: 0 is not allowed: .*greater than 0"),
    (entry(timeout="long"), r'model_config.single_model.timeout: "long" is not allowed'),
    (entry(url="ftp://x"), r'single_model.url: "ftp://x" is not allowed: expected a URL such as'),
    (entry(url="http://x:99999/v1"), r"single_model.url: .*is not allowed"),
    (entry(model=""), r'single_model.model: "" is not allowed'),
    (entry(retries=-1), r"single_model.retries: -1 is not allowed"),
    (entry(slots=0), r"single_model.slots: 0 is not allowed"),
    (entry(modell="x"), r"single_model.modell: unknown key; did you mean 'model'"),
    (entry(simulation={"failure_rate": 2}), r"single_model.simulation.failure_rate: 2 is not allowed"),
]


WRONG += [
    ({"workflow": None}, r"workflow: null is not allowed: input should be a valid object$"),
    ({"workflow": {"max_iterations": True}}, r"max_iterations: true is not allowed: .*valid integer$"),
    ({"workflow": {"max_iterations": "3"}}, r'max_iterations: "3" is not allowed: .*valid integer$'),
    ({"workflow": {"max_iterations": "a\nb\x1b[1m"}}, r"max_iterations: .*is not allowed"),
    ({"workflow": {"max_iterations": 0, "max_parallel_agents": 0}}, r"max_iterations: 0 .*\(and 1 more\)$"),
    ({"workflow": {"reviewers": "style"}}, r"workflow.reviewers: .*valid list, or .*valid object$"),
    ({"workflow": {"reviewers": ["Style!"]}}, r'workflow.reviewers.0: "Style!" is not allowed: .*pattern'),
    (
        {"workflow": {"reviewers": {"fll": ["style"]}}},
        r"reviewers.fll: .*'standard', 'full', 'review_only' or 'single'$",
    ),
    ({"workflow": {"reviewers": {"full": ["style", 3]}}}, r"reviewers.full.1: 3 is not allowed: .*string$"),
    ({"agent_parameters": {"coder": 3}}, r"agent_parameters.coder: 3 is not allowed"),
    ({"agent_parameters": {"coder": {"temp": 1}}}, r"coder.temp: unknown key; did you mean 'temperature'"),
    (
        {"agent_parameters": {"coder": {"reasoning": "huge"}}},
        r"coder.reasoning: .*, or .*'medium' or 'high'$",
    ),
    (
        {"agent_parameters": {"coder": {"keep_alive": True}}},
        r"coder.keep_alive: true .*string, or .*integer$",
    ),
    ({"agent_parameters": {"coder": {"extra_body": [1]}}}, r"coder.extra_body: \[1\] .*valid object$"),
    ({"model_config": {"multi_model": {"Coder": {}}}}, r"unknown role 'Coder'; did you mean 'coder'"),
    (
        {"model_config": {"single_model": {"url": "http://x/v1"}}},
        r"model_config.single_model.model: field required$",
    ),
    (entry(url="localhost:1234"), r"single_model.url: .*expected a URL such as http://localhost:1234/v1$"),
    (entry(url="http://a b/v1"), r"single_model.url: .*expected a URL such as"),
    (entry(url="http://[::1"), r"single_model.url: .*is not allowed"),
    (entry(timeout=float("inf")), r"single_model.timeout: Infinity is not allowed: .*finite"),
    (entry(apiKey="sk-1"), r"single_model.apiKey: unknown key; did you mean 'api_key_env'"),
    ({"proxy": "proxy:3128"}, r'proxy: "proxy:3128" is not allowed: expected a URL such as'),
    ({"prompts_dir": 3}, r"prompts_dir: 3 is not allowed: .*string$"),
]


def several(*names: Any, role: str = "coder", **more: Any) -> dict[str, Any]:
    """A configuration in which a role may have several models; there are `a` and `b`."""
    model = {"url": "http://h/v1", "model": "m"}
    choice = {"any_of": list(names), **more}
    return {"model_config": {"mode": "multi", "multi_model": {"a": model, "b": model, role: choice}}}


WRONG += [
    (several("a"), r"model_config.multi_model.coder.any_of: .*at least 2 items"),
    (several("a", "b", "a"), r"multi_model.coder.any_of: .*expected each entry once, and 'a' is named 2 tim"),
    (several("a", "c"), r"multi_model.coder.any_of: unknown entry 'c'; entries of multi_model: a, b$"),
    (several("a", "coder"), r"multi_model.coder.any_of names 'coder', which names several models itself"),
    (several("a", 3), r"model_config.multi_model.coder.any_of.1: 3 is not allowed: .*string"),
    (several("a", "b", chosen="c"), r"multi_model.coder: chosen is 'c', which any_of does not name: a, b$"),
    (several("a", "b", chos="a"), r"multi_model.coder.chos: unknown key; did you mean 'chosen'"),
    (several("a", "b", role="quick"), r"multi_model.quick: any_of is a choice for a role, .*role 'quick'"),
    ({**several("a", "b"), "model": "coder"}, r"model: 'coder' is a choice of several models; name one of"),
    (
        {"model_config": {"multi_model": {"a": {"model": ""}}}},
        r'model_config.multi_model.a.model: "" is not allowed',
    ),
]


def test_a_role_may_name_several_models() -> None:
    config = load_config(several("b", "a"), environ={})
    assert config.model_for("coder") == config.models.named["b"]
    assert config.models_for("coder") == [config.models.named["b"], config.models.named["a"]]
    chosen = config.with_choices({"coder": "a"}, {"coder": "3 of 4 solved"})
    assert chosen.model_for("coder") == chosen.model_for("tester", "coder") == config.models.named["a"]
    again = load_config(chosen.redacted(), environ={})
    assert again.choices["coder"].reason == "3 of 4 solved"
    assert again.undecided() == config
    assert changed_settings(chosen.redacted(), config.redacted()) == []
    for role, name, why in (
        ("coder", "c", "cannot have the model 'c'.*names b, a$"),
        ("tester", "a", "coder$"),
    ):
        with pytest.raises(ConfigError, match=why):
            config.with_choices({role: name})
    assert config.simulated().choices == {}


KEYED_URLS = [
    "http://h/v1?key=sk-secret",
    "http://h/v1#sk-secret",
    "http://h/v1;key=sk-secret",
    "http://h;key=sk-secret/v1",
    "http://h/a;sk-secret/v1#x",
    "http://h/v1%3Fkey=sk-secret",
    "http://h/v1%2523sk-secret",
    "http://h/http://me:sk-secret@other/v1",
    "http://h/http%3A%2F%2Fme:sk-secret%40other/v1",
    "http://sk-secret@h/v1",
]
URLS_IN_A_CONFIG: dict[str, Callable[[str], Any]] = {
    "single": lambda url: entry(url=url),
    "multi": lambda url: {"model_config": {"multi_model": {"coder": {"url": url, "model": "m"}}}},
    "proxy": lambda url: {"proxy": url},
    "spans": lambda url: {"features": {"otlp_endpoint": url}},
}


@pytest.mark.parametrize("place", URLS_IN_A_CONFIG)
@pytest.mark.parametrize("url", KEYED_URLS)
def test_a_url_that_may_hold_a_key_is_refused_and_not_shown(url: str, place: str) -> None:
    with pytest.raises(ConfigError, match=r"expected no (password|'[?#;]')|expected a URL") as caught:
        load_config(URLS_IN_A_CONFIG[place](url), environ={})
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://h/@cf/meta/v1", "http://h:80/a%20b/v1", "http://h/v1?", "http://h/v1#"]
)
def test_a_url_that_holds_no_key_is_accepted(url: str) -> None:
    load_config(entry(url=url), environ={})


SECRETS = [
    entry(url="http://me:sk-secret@h/v1"),
    entry(api_key_env="sk-secret"),
    server(env={"API_KEY": "sk-secret"}),
    server(env={"DATABASE": "postgres://me:sk-secret@host/plant"}),
    server(args=["--api-key", "sk-secret"]),
    server(args=["serve", "--token=sk-secret"]),
    server(args=["postgres://me:sk-secret@host/plant"]),
    {"mcp_servers": {"plant": {"url": "http://me:sk-secret@host/mcp"}}},
    {"mcp_servers": {"plant": {"url": "http://host/mcp", "token_env": "sk-secret"}}},
    entry(api_key="sk-secret"),
    {"proxy": "http://me:sk-secret@h:1"},
]


@pytest.mark.parametrize("data", SECRETS)
def test_a_secret_is_refused_and_not_shown(data: Any) -> None:
    expected = r"expected (no password|the name|an environment variable|\$\{\w+\} as)|'api_key_env'"
    with pytest.raises(ConfigError, match=expected) as caught:
        load_config(data, environ={})
    assert "sk-secret" not in str(caught.value)


def test_an_mcp_server_gets_its_secrets_from_the_environment() -> None:
    args = ["--api-key", "${KEY}", "--token=${KEY}", "postgres://me:${KEY}@host/plant", "--max-tokens", "5"]
    env = {"API_KEY": "${KEY}", "DATABASE": "postgres://me:${KEY}@host/plant", "TZ": "Asia/Vientiane"}
    saved = load_config(server(args=args, env=env), environ={"KEY": "sk-secret"}).redacted()
    assert saved == server(args=args, env=env)


def test_paths_of_mcp_servers_are_relative_to_the_config_file(tmp_path: Path) -> None:
    paths = {"cwd": "data", "sandbox": True, "folders": ["shared"], "readable": ["/etc/plant", "tags"]}
    (tmp_path / "config.json").write_text(json.dumps(server(command="./tools/tags.py", **paths)))
    found = load_config(tmp_path / "config.json", environ={}).mcp_servers["plant"]
    assert found.command == f"{tmp_path}/data/tools/tags.py"
    assert found.cwd == f"{tmp_path}/data"
    assert (found.folders, found.readable) == ([f"{tmp_path}/shared"], ["/etc/plant", f"{tmp_path}/tags"])
    (tmp_path / "config.json").write_text(json.dumps(server()))
    assert load_config(tmp_path / "config.json", environ={}).mcp_servers["plant"].command == "plant-server"


@pytest.mark.parametrize(("data", "message"), WRONG)
def test_a_wrong_value_is_one_line_with_its_place_and_what_is_allowed(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^config: .*{message}") as caught:
        load_config(data, environ={})
    assert str(caught.value).isprintable()


BROKEN = [
    ("{", r"not valid JSON"),
    ('{"a": 1,\n "b" 2}', r"not valid JSON: line 2"),
    ('{"workflow": {}, "workflow": {}}', r"not valid JSON: .*[Dd]uplicate key"),
    ('"text"', r"expected an object"),
    ("[" * 5000, r"not valid JSON"),
    ("", r"not valid JSON"),
    ('{"a": 1', r"not valid JSON: line 1 "),
    ('{"a\x1b": 1, "a\x1b": 2}', r"not valid JSON: "),
    ("null", r"expected an object"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_a_broken_file_is_one_line_with_the_place(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        from_text(tmp_path, text)
    assert str(caught.value).isprintable()
    assert str(tmp_path / "config.json") in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), (b"\xff\xfe{", "not UTF-8"), ("", "directory")]
)
def test_a_file_that_cannot_be_read_is_one_line(
    content: bytes | str | None, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
    with pytest.raises(ConfigError, match=rf"cannot read the config '{path}': .*{reason}") as caught:
        load_config(path, environ={})
    assert str(caught.value).isprintable()


def test_a_url_in_place_of_a_file_says_how_to_name_a_server() -> None:
    with pytest.raises(ConfigError, match=r"is a URL.*\"model\": \"NAME\"") as caught:
        load_config("http://user:secret@127.0.0.1:1234/v1", environ={})
    assert "secret" not in str(caught.value)


def test_entries_may_have_other_names_than_roles() -> None:
    entries = {name: {"url": "http://localhost:1/v1", "model": name} for name in ("coder", "coder_2", "fast")}
    models = load_config({"model_config": {"mode": "multi", "multi_model": entries}}, environ={}).models
    assert list(models.multi_model) == ["coder", "coder_2", "fast"]


def test_the_folders_of_a_server_begin_at_the_config_file(tmp_path: Path) -> None:
    server = {"command": "files", "cwd": "work", "folders": ["plant"], "readable": ["/srv/procedures"]}
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"mcp_servers": {"files": server}}))
    found = load_config(file, environ={}).mcp_servers["files"]
    assert (found.cwd, found.folders) == (str(tmp_path / "work"), [str(tmp_path / "plant")])
    assert found.readable == ["/srv/procedures"]


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        ({}, "expected either a command or a url"),
        ({"command": "a", "url": "http://127.0.0.1:1/mcp"}, "expected either a command or a url"),
        ({"url": "http://127.0.0.1:1/mcp", "args": ["x"]}, "expected no args with a url"),
        ({"command": "a", "token_env": "TOKEN"}, "expected no token_env with a command"),
        ({"command": "a", "env": {"API_KEY": "s3cret-value"}}, "expected ${API_KEY} as the value"),
        ({"url": "http://me:s3cret-value@127.0.0.1:1/mcp"}, "expected no password in the URL"),
        ({"url": "http://127.0.0.1:1/mcp", "token_env": "s3cret-value"}, "not a token itself"),
    ],
)
def test_a_server_that_cannot_be_used_is_refused_without_its_secret(
    server: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"mcp_servers": {"files": server}}, environ={})
    assert problem in str(caught.value)
    assert "s3cret-value" not in str(caught.value)


@pytest.mark.parametrize("source", [[1], 5, b"config.json", object()])
def test_what_is_no_configuration_is_refused(source: Any) -> None:
    with pytest.raises(ConfigError, match="expected a config file, a dict or a SwarmConfig, found "):
        load_config(source)


@pytest.mark.parametrize("name", ["a" * 128, "größe", "files.*", "*", "_a"])
def test_names_of_tools_are_accepted(name: str) -> None:
    assert load_config({"approve": [name]}, environ={}).approve == [name]


@pytest.mark.parametrize("name", ["a" * 129, "", ".a", "1a", "a b", "a\n", "größe!"])
def test_what_is_no_name_of_a_tool_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="approve"):
        load_config({"approve": [name]}, environ={})
