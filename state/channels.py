"""The acquisition channel: what kind of source somebody came from. Tables of words, read in one order."""

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

WORDS = re.compile(r"[^a-z0-9]+")
HOST = re.compile(r"(?:[a-z-]+://)?((?:[\w-]+\.)+[^\W\d_]{2,})(?:/\S*)?")

MEDIA: Mapping[str, str] = {
    **dict.fromkeys(("email", "mail", "newsletter", "e mail", "emailing", "crm"), "email"),
    **dict.fromkeys(("abandoned cart", "transactional", "e posta", "eposta", "courriel"), "email"),
    **dict.fromkeys(("cpc", "ppc", "cpm", "cpv", "cpa", "paid", "ads", "ad", "display", "banner"), "ads"),
    **dict.fromkeys(("retargeting", "remarketing", "shopping", "sem", "adwords", "pmax"), "ads"),
    **dict.fromkeys(("paidsearch", "paidsocial"), "ads"),
    **dict.fromkeys(("organic", "seo", "search"), "seo"),
    **dict.fromkeys(
        ("social", "organic social", "social media", "socialmedia", "sm", "social network"), "social"
    ),
    **dict.fromkeys(("referral", "affiliate", "affiliates", "partner", "link"), "referral"),
    **dict.fromkeys(("direct", "typein", "none"), "direct"),
}
"""What a campaign's medium, or a store's own kind of source, says outright."""
VAGUE = frozenset({"referral", "link", "link in bio"})
"""Media that say only that there was a link: WooCommerce calls a visit from Facebook so."""

BRANDS: Mapping[str, str] = {
    **dict.fromkeys(("google", "bing", "yahoo", "duckduckgo", "ecosia", "qwant", "baidu", "yandex"), "seo"),
    **dict.fromkeys(("startpage", "seznam", "naver", "brave", "kagi", "lilo"), "seo"),
    **dict.fromkeys(
        ("facebook", "instagram", "pinterest", "tiktok", "twitter", "linkedin", "youtube"), "social"
    ),
    **dict.fromkeys(("reddit", "snapchat", "threads", "whatsapp", "telegram", "vk"), "social"),
    **dict.fromkeys(("mailchimp", "klaviyo", "brevo", "sendinblue", "gmail", "hotmail", "outlook"), "email"),
    **dict.fromkeys(("autopilot", "ortto", "activecampaign", "campaignmonitor"), "email"),
    **dict.fromkeys(("adwords", "googleads", "criteo", "taboola", "outbrain", "doubleclick"), "ads"),
    **dict.fromkeys(("googlesyndication", "googleadservices"), "ads"),
}
"""Names of sources, and parts of the host names that visitors come from."""
NAMES: Mapping[str, str] = {
    **BRANDS,
    **dict.fromkeys(("direct", "typein"), "direct"),
    **dict.fromkeys(("newsletter", "email", "mailing", "bulten", "infolettre"), "email"),
    **dict.fromkeys(("ads", "ad", "paid", "cpc"), "ads"),
    **dict.fromkeys(("fb", "ig"), "social"),
    "organic": "seo",
    "referral": "referral",
}
"""Names of sources that mean nothing as a part of a host: ad.nl is a newspaper."""
HOSTS: Mapping[str, str] = {
    **dict.fromkeys(("t.co", "x.com", "lnkd.in", "youtu.be", "wa.me", "t.me", "fb.me", "pin.it"), "social"),
    "ya.ru": "seo",
    "com.google.android.gm": "email",
    "syndicatedsearch.goog": "ads",
}
"""Hosts whose parts say nothing, or something else."""
MAILBOXES = frozenset({"mail", "webmail"})
"""Parts of hosts where people read their mail, whoever runs them."""
CLICK_IDS = frozenset({"gclid", "gbraid", "wbraid", "msclkid", "dclid", "ttclid", "li_fat_id"})
"""What ad networks add to the address of the page that an ad leads to; Facebook's stands in every link."""
LANDINGS = ("session_entry", "landing_page")
"""What stores call that page in their evidence."""


@lru_cache(maxsize=4096)
def channel_of(name: str | None, medium: str | None, evidence: str | None) -> str | None:
    """Classify a source: seo, social, ads, email, referral, direct or other; None where there is none.

    The medium counts before the name, an ad's click id before both; a name that is a host, or the page
    that somebody came from, is a referral where we do not know it.
    """
    if not name:
        return None
    told = dict(part.partition("=")[::2] for part in (evidence or "").split("; "))
    if any(_was_clicked(told.get(landing, "")) for landing in LANDINGS):
        return "ads"
    said = _find(MEDIA, medium)
    if said and _folded(medium) not in VAGUE:
        return said
    return _by_host(name) or _find(NAMES, name) or _by_referrer(told) or said or "other"


def _was_clicked(page: str) -> bool:
    try:
        query = urlsplit(page).query
    except ValueError:  # a stray bracket: no address
        return False
    return any(name in CLICK_IDS for name, _ in parse_qsl(query, keep_blank_values=True))


def _find(table: Mapping[str, str], text: str | None) -> str | None:
    """Look a text up whole, then word by word; that somebody paid for it outweighs the other words."""
    words = _folded(text)
    found = [table[word] for word in words.split() if word in table]
    return table.get(words) or ("ads" if "ads" in found else next(iter(found), None))


def _folded(text: str | None) -> str:
    """Reduce to small letters without accents, figures and spaces: İnstagram_Ads is "instagram ads"."""
    letters = unicodedata.normalize("NFKD", (text or "").casefold().replace("ı", "i"))
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return WORDS.sub(" ", bare).strip()


def _by_host(text: str) -> str | None:
    """Classify a name that is a host (www.google.fr, l.facebook.com); None for any other text."""
    found = HOST.fullmatch(text.strip().lower())
    if not found:
        return None
    host = found[1]
    labels = host.split(".")[:-1]
    if host in HOSTS or not MAILBOXES.isdisjoint(labels):
        return HOSTS.get(host, "email")
    return _find(BRANDS, " ".join(reversed(labels))) or "referral"


def _by_referrer(told: Mapping[str, str]) -> str | None:
    """Classify by the page that somebody came from; None where nothing tells of one."""
    try:
        host = urlsplit(told.get("referrer", "")).hostname
    except ValueError:  # a stray bracket: no address
        return None
    return _by_host(host) if host else None
