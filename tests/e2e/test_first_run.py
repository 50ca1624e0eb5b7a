"""From the first start to a team that uses the balancer, as people would go about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.e2e.conftest import StartBalancer
from tests.e2e.fleet import Balancer, Fleet
from tests.e2e.test_openai_sdk import HELLO, TO_THE_END

PASSWORD = "correct horse battery"


class Person:
    """Somebody with a browser, or with a script that keeps cookies."""

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self.http = httpx.Client(base_url=balancer.base_url, trust_env=False, timeout=30)

    def log_in(self, username: str, password: str) -> dict[str, Any]:
        said = {"username": username, "password": password}
        answer = self.http.post("/api/auth/login", json=said)
        assert answer.status_code == 200, answer.text
        user: dict[str, Any] = answer.json()["user"]
        return user

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """As a page of the balancer's own would."""
        headers = {
            "origin": self.balancer.base_url,
            "x-csrf-token": self.http.cookies["llmlb_csrf"],
        }
        answer = self.http.request(method, path, json=body, headers=headers)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


def link_in(log: str) -> httpx.URL:
    found = re.search(r"http://\S+/setup\?token=\S+", log)
    assert found, log
    return httpx.URL(found[0])


@pytest.fixture
def person(start_balancer: StartBalancer) -> Iterator[Person]:
    """The administrator, with a session, of a balancer that was just set up."""
    balancer = start_balancer()
    link = link_in(balancer.log_tail())
    person = Person(balancer)
    with person.http:
        page = person.http.get(link.raw_path.decode())
        assert page.status_code == 200
        assert "Make the first administrator" in page.text
        form = {"token": link.params["token"], "username": "admin", "password": PASSWORD}
        assert person.http.post("/setup", data=form).status_code == 201
        assert person.http.get(link.raw_path.decode()).status_code == 404
        person.log_in("admin", PASSWORD)
        yield person


def test_a_team_gets_going(person: Person, fleet: Fleet) -> None:
    balancer = person.balancer
    assert httpx.get(f"{balancer.base_url}/v1/models", trust_env=False).status_code == 401

    form = {"name": "a", "base_url": fleet.a.base_url}
    made = person.ask("POST", "/api/endpoints", form)
    person.ask("POST", f"/api/endpoints/{made['id']}/sync")
    both = ["openai.inference", "openai.models.read"]
    key = person.ask("POST", "/api/me/api-keys", {"name": "laptop", "permissions": both})
    tight = {"name": "tight", "permissions": both, "requests_per_minute": 1}
    limited = person.ask("POST", "/api/me/api-keys", tight)

    with OpenAI(base_url=f"{balancer.base_url}/v1", api_key=key["key"], max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["tiny-a"]
        stream = client.chat.completions.create(
            model="tiny-a", messages=HELLO, max_tokens=8, extra_body=TO_THE_END, stream=True
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    with Anthropic(base_url=balancer.base_url, api_key=key["key"], max_retries=0) as messages:
        hello = messages.messages.create(
            model="tiny-a", max_tokens=8, messages=[{"role": "user", "content": "hello"}]
        )
        assert hello.type == "message"
    with OpenAI(base_url=f"{balancer.base_url}/v1", api_key=limited["key"], max_retries=0) as few:
        few.chat.completions.create(model="tiny-a", messages=HELLO, max_tokens=2)
        with pytest.raises(openai.RateLimitError) as caught:
            few.chat.completions.create(model="tiny-a", messages=HELLO, max_tokens=2)
        assert caught.value.code == "rate_limit_exceeded"
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60

    person.ask("DELETE", f"/api/me/api-keys/{key['id']}")
    with (
        OpenAI(base_url=f"{balancer.base_url}/v1", api_key=key["key"], max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()
    with (
        Anthropic(base_url=balancer.base_url, api_key=key["key"], max_retries=0) as messages,
        pytest.raises(anthropic.AuthenticationError),
    ):
        messages.messages.create(
            model="tiny-a", max_tokens=8, messages=[{"role": "user", "content": "hello"}]
        )


def test_whoever_is_invited_comes_in_as_a_viewer(person: Person) -> None:
    invitation = person.ask("POST", "/api/invitations", {"expires_in_hours": 1})
    guest = Person(person.balancer)
    with guest.http:
        said = {"username": "ann", "password": PASSWORD, "invitation_code": invitation["code"]}
        assert guest.http.post("/api/auth/register", json=said).status_code == 201
        said["username"] = "bob"
        assert guest.http.post("/api/auth/register", json=said).status_code == 400
        assert guest.log_in("ann", PASSWORD)["role"] == "viewer"
        assert guest.ask("GET", "/api/endpoints")["endpoints"] == []
        key = guest.ask("POST", "/api/me/api-keys", {"name": "mine"})
        assert key["permissions"] == ["openai.inference", "openai.models.read"]
        refused = guest.http.get("/api/users")
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            403,
            "insufficient_permissions",
        )


def test_all_of_it_outlives_a_restart(person: Person) -> None:
    balancer = person.balancer
    both = ["openai.inference", "openai.models.read"]
    key = person.ask("POST", "/api/me/api-keys", {"name": "laptop", "permissions": both})
    headers = {"x-api-key": key["key"]}
    assert httpx.get(f"{balancer.base_url}/v1/models", headers=headers).status_code == 200
    leaving = Person(balancer)
    leaving.log_in("admin", PASSWORD)
    ended = leaving.http.cookies["llmlb_jwt"]
    leaving.ask("POST", "/api/auth/logout")
    leaving.http.close()

    balancer.stop()
    balancer.start()

    assert "setup?token" not in balancer.log_tail()
    assert httpx.get(f"{balancer.base_url}/v1/models", headers=headers).status_code == 200
    (shown,) = person.ask("GET", "/api/me/api-keys")["api_keys"]
    assert shown["last_used_at"] is not None
    assert "key" not in shown
    bearer = {"authorization": f"Bearer {ended}"}
    assert httpx.get(f"{balancer.base_url}/api/auth/me", headers=bearer).status_code == 401


def test_without_users_it_says_so_loudly(start_balancer: StartBalancer) -> None:
    balancer = start_balancer(settings={"LLMLB_AUTH": "off"})
    log = balancer.log_tail()
    assert "LLMLB_AUTH=off: whoever uses this machine may do everything here" in log
    assert "/setup" not in log
    assert balancer.ask("GET", "/api/auth/me")["username"] == "local"
    assert httpx.get(f"{balancer.base_url}/setup", trust_env=False).status_code == 404


def test_the_settings_can_make_the_administrator(start_balancer: StartBalancer) -> None:
    balancer = start_balancer(
        settings={"LLMLB_ADMIN_USERNAME": "root", "LLMLB_ADMIN_PASSWORD": PASSWORD}
    )
    assert PASSWORD not in balancer.log_tail()
    person = Person(balancer)
    with person.http:
        assert person.log_in("root", PASSWORD)["role"] == "admin"
