"""The acquisition channel of real sources, as the stores tell of them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from state.channels import channel_of

CHANNELS = {"seo", "social", "ads", "email", "referral", "direct", "other"}
WOOCOMMERCE = [
    ("direct", None, None, "direct"),
    ("google", "organic", "utm_source=google; utm_medium=organic; referrer=https://www.google.com/", "seo"),
    ("google", "cpc", "utm_source=google; utm_medium=cpc; utm_campaign=(none)", "ads"),
    ("l.facebook.com", "referral", "referrer=https://l.facebook.com/", "social"),
    ("www.google.fr", "referral", "referrer=https://www.google.fr/", "seo"),
    ("t.co", "referral", "referrer=https://t.co/x", "social"),
    ("mail.google.com", "referral", "referrer=https://mail.google.com/", "email"),
    ("com.google.android.gm", "referral", "referrer=android-app://com.google.android.gm/", "email"),
    ("com.google.android.googlequicksearchbox", "referral", None, "seo"),
    ("r.search.yahoo.com", "referral", None, "seo"),
    ("googleads.g.doubleclick.net", "referral", None, "ads"),
    ("syndicatedsearch.goog", "referral", None, "ads"),
    ("blog.example.test", "referral", "utm_source=blog.example.test; utm_medium=referral", "referral"),
    ("www.ad.nl", "referral", "referrer=https://www.ad.nl/", "referral"),
    ("newsletter", "email", "utm_campaign=spring_sale; session_entry=https://shop.example/", "email"),
    ("mailchimp", None, "utm_source=mailchimp", "email"),
    ("facebook", "paid_social", None, "ads"),
    ("Facebook", "social", "session_entry=https://shop.example/?fbclid=IwAR0", "social"),
    ("google", "organic", "session_entry=https://shop.example/?gclid=Cj0K", "ads"),
    ("direct", None, "session_entry=https://shop.example/tea/?a=1&gbraid=0AAA", "ads"),
    ("admin", None, None, "other"),
    ("mobile_app", None, None, "other"),
]
"""Order attribution: typed in, organic, utm, referral, and what the shop's own staff and app leave."""
SHOPIFY = [
    ("google", "seo", "referrer=https://www.google.com/; landing_page=https://shop.example/", "seo"),
    ("google", "seo", "landing_page=https://shop.example/?msclkid=1", "ads"),
    ("facebook", "post", None, "social"),
    ("facebook", "ad", None, "ads"),
    ("instagram", "link", "referrer=https://l.instagram.com/", "social"),
    ("shop.partner.example", "link", None, "referral"),
    ("awin", "affiliate", None, "referral"),
    ("shopify_email", "email", None, "email"),
    ("shopify", "abandoned_cart", None, "email"),
    ("shopify", "transactional", None, "email"),
    ("direct", None, "landing_page=https://shop.example/", "direct"),
    ("an unknown source", None, None, "other"),
    ("an unknown source", None, "referrer=https://duckduckgo.com/", "seo"),
    ("pos", None, "source_name=pos", "other"),
]
"""First visits: the source's name, the kind of marketing, and the pages."""
TYPED = [
    ("google / organic", None, None, "seo"),
    ("google / cpc", None, None, "ads"),
    ("direct / none", None, None, "direct"),
    ("(direct)", "(none)", None, "direct"),
    ("Facebook Ads", None, None, "ads"),
    ("facebook", "social_paid", None, "ads"),
    ("Newsletter 2026.11", None, None, "email"),
    ("https://www.pinterest.fr/pin/1", None, None, "social"),
    ("İNSTAGRAM", None, None, "social"),
    ("ınstagram", "Sosyal", None, "social"),
    ("Bülten", None, None, "email"),
    ("kasım kampanyası", "E-Posta", None, "email"),
    ("çiçekçi.com.tr", None, None, "referral"),
    ("微信 🎁", None, None, "other"),
    ("[google", None, "referrer=http://[bad; session_entry=http://[::1", "seo"),
    ("spring", None, "referrer=http://[bad; session_entry=http://bad]?gclid=1", "other"),
    ("spring", "sale", "no parts at all", "other"),
    ("", "cpc", "referrer=https://www.google.com/", None),
    (None, None, None, None),
]
"""Whatever owners write into links and files."""


@pytest.mark.parametrize(("name", "medium", "evidence", "channel"), WOOCOMMERCE + SHOPIFY + TYPED)
def test_a_source_has_its_channel(
    name: str | None, medium: str | None, evidence: str | None, channel: str | None
) -> None:
    assert channel_of(name, medium, evidence) == channel


texts = st.none() | st.text(max_size=20)
evidence = texts | st.builds("{}={}".format, st.sampled_from(["referrer", "session_entry"]), st.text())


@given(texts, texts, evidence)
@example("x", None, "session_entry=http://[")
@example("x", None, "landing_page=//a\N{FULLWIDTH COLON}b")
def test_any_text_has_one_of_seven_channels_or_none(
    name: str | None, medium: str | None, evidence: str | None
) -> None:
    found = channel_of(name, medium, evidence)

    assert found in CHANNELS if name else found is None
