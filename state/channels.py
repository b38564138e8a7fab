"""The acquisition channel: what kind of source somebody came from. Tables of words, read in one order."""

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

WORDS = re.compile(r"[^a-z0-9]+")

MEDIA: Mapping[str, str] = {
    **dict.fromkeys(("email", "mail", "newsletter", "e mail", "emailing", "crm"), "email"),
    **dict.fromkeys(
        (
            "cpc",
            "ppc",
            "cpm",
            "cpv",
            "cpa",
            "paid",
            "ads",
            "ad",
            "display",
            "banner",
            "retargeting",
            "remarketing",
        ),
        "ads",
    ),
    **dict.fromkeys(
        ("paidsearch", "paidsocial", "paid search", "paid social", "shopping", "sem", "adwords", "pmax"),
        "ads",
    ),
    **dict.fromkeys(("organic", "seo", "search"), "seo"),
    **dict.fromkeys(
        ("social", "organic social", "social media", "socialmedia", "sm", "social network"), "social"
    ),
    **dict.fromkeys(("referral", "affiliate", "affiliates", "partner", "link"), "referral"),
    **dict.fromkeys(("direct", "typein", "none"), "direct"),
}
"""What a campaign's medium, or a store's own kind of source, says outright."""

NAMES: Mapping[str, str] = {
    **dict.fromkeys(("direct", "typein"), "direct"),
    **dict.fromkeys(("google", "bing", "yahoo", "duckduckgo", "ecosia", "qwant", "baidu", "yandex"), "seo"),
    **dict.fromkeys(("startpage", "seznam", "naver", "brave", "kagi", "lilo", "organic"), "seo"),
    **dict.fromkeys(
        ("facebook", "instagram", "pinterest", "tiktok", "twitter", "linkedin", "youtube"), "social"
    ),
    **dict.fromkeys(("reddit", "snapchat", "threads", "whatsapp", "telegram", "fb", "ig", "vk"), "social"),
    **dict.fromkeys(
        ("newsletter", "email", "mailchimp", "klaviyo", "brevo", "sendinblue", "mailing"), "email"
    ),
    **dict.fromkeys(("autopilot", "ortto", "activecampaign", "campaignmonitor", "gmail"), "email"),
    **dict.fromkeys(("adwords", "googleads", "criteo", "taboola", "outbrain", "doubleclick"), "ads"),
    "referral": "referral",
}
"""Names of sources, and parts of the host names that visitors come from."""
HOSTS: Mapping[str, str] = {"t.co": "social", "x.com": "social", "lnkd.in": "social", "youtu.be": "social"}
"""Hosts whose parts say nothing."""
CLICK_IDS = frozenset({"gclid", "gbraid", "wbraid", "msclkid", "dclid", "ttclid", "li_fat_id"})
"""What ad networks add to the address of the page that an ad leads to; Facebook's stands in every link."""


@lru_cache(maxsize=4096)
def channel_of(name: str | None, medium: str | None, evidence: str | None) -> str | None:
    """Classify a source: seo, social, ads, email, referral, direct or other; None where there is none.

    The medium counts before the name, an ad's click id before both; a name that is a host, or the page
    that somebody came from, is a referral where we do not know it.
    """
    if not name:
        return None
    told = dict(part.partition("=")[::2] for part in (evidence or "").split("; "))
    if _was_clicked(told.get("session_entry", "")):
        return "ads"
    medium_word, name_word = _word(medium), _word(name)
    if found := MEDIA.get(medium_word) or next(filter(None, map(MEDIA.get, medium_word.split())), None):
        return found
    return _by_host(name) or NAMES.get(name_word) or _by_referrer(told) or "other"


def _was_clicked(page: str) -> bool:
    return any(name in CLICK_IDS for name, _ in parse_qsl(urlsplit(page).query))


def _word(text: str | None) -> str:
    return WORDS.sub(" ", (text or "").lower()).strip()


def _by_host(text: str) -> str | None:
    """Classify a name that is a host (www.google.fr, l.facebook.com); None for any other text."""
    host = text.strip().lower()
    if "." not in host or " " in host:
        return None
    parts = host.split(".")[:-1]
    return HOSTS.get(host) or next(filter(None, map(NAMES.get, reversed(parts))), "referral")


def _by_referrer(told: Mapping[str, str]) -> str | None:
    """Classify by the page that somebody came from; None where nothing tells of one."""
    try:
        host = urlsplit(told.get("referrer", "")).hostname
    except ValueError:  # a stray bracket: no address
        return None
    return _by_host(host) if host else None
