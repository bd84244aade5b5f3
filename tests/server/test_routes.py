"""Routes that name a model, and routes that are asked otherwise than they are made."""

import openai
import pytest

from tests.server.conftest import Site, plain_client
from tinychat.server import API_ROUTES


def test_a_model_is_found_by_its_name(site: Site) -> None:
    for listed in site.openai().models.list():
        assert site.openai().models.retrieve(listed.id) == listed


@pytest.mark.parametrize("name", ["nobody", "talk@7", "../talk", "talk/step-00000020", "%00", "é"])
def test_a_model_that_is_not_there_is_told(site: Site, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        site.openai().models.retrieve(name)
    body = caught.value.response.json()["error"]
    assert set(body) == {"message", "type", "param", "code"}
    assert name not in body["message"]


@pytest.mark.parametrize("route", API_ROUTES)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_another_method_is_told_which_one_is_right(site: Site, route: str, method: str) -> None:
    right, path = route.split()
    if method == right:
        return
    response = plain_client().request(method, site.url + path.replace("*", "talk"))
    assert response.status_code == 405
    assert response.headers["allow"] == right
    assert response.json()["error"] == {
        "message": f"This route takes {right} only.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
