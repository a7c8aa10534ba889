"""Who may see the pages: everybody on this machine, or, where the server is shared, those who log in (OpenID Connect).

`.streamlit/secrets.toml` has a section `[auth]` then, as `st.login` wants it (see the README, Sharing), and may have
`[people] allow = ["*@example.org"]`. Without it there is no login, and nothing of this is shown.
"""

from collections.abc import Sequence
from fnmatch import fnmatch

import streamlit as st

from dashboard.frame import plain

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def configured() -> bool:
    """Whether a login is asked for. (Streamlit's own look at the secrets raises where there is no file.)"""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False


def required() -> None:
    """Show the log-in and end the script here, unless there is none or somebody has logged in who may be here.

    Called before anything is read of any run: what a browser is not sent, nobody can look at.
    """
    if not configured():
        return
    if not st.user.is_logged_in:
        _door("These pages are for people who log in.")
    elif not allowed(st.user.get("email"), st.user.get("email_verified"), st.secrets.get("people", {}).get("allow")):
        _door(f"**{plain(str(st.user.get('email') or 'This account'))}** is not on the list of people who may be here.")


def allowed(email: str | None, verified: bool | None, patterns: Sequence[str] | None) -> bool:
    """Whether an account may be here: any that the provider lets in, or, where there is a list, one whose address is on
    it and is not known to be unverified.

    >>> allowed("ada@example.org", True, ["*@example.org"]), allowed("ada@example.org", False, ["*@example.org"])
    (True, False)
    """
    if patterns is None:
        return True
    if not email or verified is False:
        return False
    return any(fnmatch(email.casefold(), str(pattern).casefold()) for pattern in patterns)


def _door(text: str) -> None:
    st.title("trimcore")
    st.markdown(text)
    if st.user.is_logged_in:
        st.button("Log out", on_click=st.logout, icon=":material/logout:")
    else:
        st.button("Log in", on_click=st.login, type="primary", icon=":material/login:")
    st.stop()


def card() -> None:
    """Who is logged in, and the way out; for the side bar."""
    if configured():
        name = st.user.get("email") or st.user.get("name") or "logged in"
        st.caption(f":material/account_circle: {plain(str(name))}")
        st.button("Log out", on_click=st.logout, type="tertiary", icon=":material/logout:")


def warn_about_settings() -> None:
    """Settings are only read from the working folder: started from elsewhere, the server would listen to everyone."""
    if st.get_option("server.address") not in LOOPBACK and not configured():
        st.warning(
            "This server can be reached from other machines, and everybody who finds it may start and stop runs. Its "
            "settings were not found or were changed: start it from the project's folder, `streamlit run "
            "dashboard/app.py`, or let people log in (README, Sharing).",
            icon=":material/lock_open:",
        )
