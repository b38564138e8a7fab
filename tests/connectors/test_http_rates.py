"""Rates and pauses that vendors name outside of headers."""

import httpx
import pytest
import respx

from connectors.http import Answer, Api

URL = "http://vendor.test"


def nine_seconds(_: Answer) -> float | None:
    return 9.0


async def test_a_pause_that_stands_in_the_body_is_kept(pauses: list[float]) -> None:
    api = Api(URL, pause=nine_seconds)
    with respx.mock() as router:
        router.get(URL + "/x").mock(side_effect=[httpx.Response(429), httpx.Response(200, json=[])])

        await api.get("/x")
    await api.aclose()

    assert 9.0 in pauses


async def test_a_header_goes_before_the_body(pauses: list[float]) -> None:
    api = Api(URL, pause=nine_seconds)
    limited = httpx.Response(429, headers={"retry-after": "4"})
    with respx.mock() as router:
        router.get(URL + "/x").mock(side_effect=[limited, httpx.Response(200, json=[])])

        await api.get("/x")
    await api.aclose()

    assert 4.0 in pauses
    assert 9.0 not in pauses


@pytest.mark.parametrize(
    ("spaced", "rate", "most", "period"), [(False, 20, 20, 1), (True, 20, 1, 1 / 20), (False, 0.5, 1, 2)]
)
async def test_requests_may_be_spaced_evenly(
    *, spaced: bool, rate: float, most: float, period: float
) -> None:
    api = Api(URL, per_second=rate, spaced=spaced)

    assert api._rate is not None
    assert (api._rate.max_rate, api._rate.time_period) == (most, period)
    await api.aclose()


async def test_a_rate_can_be_lowered() -> None:
    api = Api(URL, spaced=True)

    api.slow_down(5)

    assert api._rate is not None
    assert api._rate.time_period == pytest.approx(0.2)
    await api.aclose()
