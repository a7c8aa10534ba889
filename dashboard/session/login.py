"""Who may see the pages: everyone on this machine or, if the server is shared, everyone who logs in (OpenID Connect).

To require a login, `.streamlit/secrets.toml` has a section `[auth]` as `st.login` expects it, and optionally
`[people] allow = ["*@example.org"]`: see "Sharing and login" in dashboard/README.md. Without the section there is no
login, and nothing in this module is shown.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

import streamlit as st

from dashboard.text import plain

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def configured() -> bool:
    """Whether a login is required. (Streamlit's secrets raise FileNotFoundError if there is no file.)"""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False


def require_login() -> None:
    """Show the login page and stop the script, unless no login is required or the user is logged in and allowed.

    Call it before anything is read from any run, so that no run data is sent to the browser before the login.
    """
    if not configured():
        return
    user: Mapping[str, Any] = st.user
    if not st.user.is_logged_in:
        _login_page("Log in to use this dashboard.")
    elif not allowed(user.get("email"), user.get("email_verified"), st.secrets.get("people", {}).get("allow")):
        account = plain(str(user.get("email") or "This account"))
        _login_page(f"**{account}** is not on the list of allowed accounts.")


def allowed(email: str | None, verified: bool | None, patterns: Sequence[str] | None) -> bool:
    """Whether an account may enter. Without a list, every account that can log in may enter. With a list, the
    address of the account must be on it and must not be known to be unverified.

    >>> allowed("ada@example.org", True, ["*@example.org"]), allowed("ada@example.org", False, ["*@example.org"])
    (True, False)
    """
    if patterns is None:
        return True
    if not email or verified is False:
        return False
    return any(fnmatch(email.casefold(), str(pattern).casefold()) for pattern in patterns)


def _login_page(text: str) -> None:
    st.title("trimcore")
    st.markdown(text)
    if st.user.is_logged_in:
        st.button("Log out", on_click=st.logout, icon=":material/logout:")
    else:
        st.button("Log in", on_click=st.login, type="primary", icon=":material/login:")
    st.stop()


def account_card() -> None:
    """The account that is logged in, with a button to log out; for the sidebar."""
    if configured():
        name = st.user.get("email") or st.user.get("name") or "logged in"
        st.caption(f":material/account_circle: {plain(str(name))}")
        st.button("Log out", on_click=st.logout, type="tertiary", icon=":material/logout:")


def warn_about_settings() -> None:
    """Warn if the server accepts connections from other machines without a login. That happens when it is started from
    another folder, because Streamlit reads its settings from the working folder."""
    if st.get_option("server.address") not in LOOPBACK and not configured():
        st.warning(
            "This server can be reached from other machines, and everyone who can reach it can start and stop runs. "
            "Its settings were not found or were changed. Start it with `trimcore dashboard`, or run `streamlit run "
            "dashboard/app.py` in the project folder, or require a login (see “Sharing and login” in "
            "dashboard/README.md).",
            icon=":material/lock_open:",
        )
