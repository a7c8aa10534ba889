"""The guide: a slim strip at the top of each page for a person who is here for the first time.

It tells the way in five steps, what to do on this page, and where the next step is. What is done is read from the
selected run, never from clicks. It is there as long as there are no runs, until it is put away, or when it is called.
"""

from collections.abc import Collection
from dataclasses import dataclass

import streamlit as st

from dashboard import store, work
from dashboard.frame import plain
from trimcore import tables
from trimcore.errors import TrimError
from trimcore.jobs import control

STEPS = {
    "model": "Choose a network", "profile": "Profile it", "plan": "Plan the cuts", "run": "Watch it run",
    "report": "Take the report",
}  # fmt: skip
BEGIN = "Begin on **Model**: without a run there is nothing to show here."


@dataclass(frozen=True)
class Journey:
    """How far the selected run has come. state and active: as in `runs.Status`, "" without a run; cuts: whether it was
    asked to cut anything, or only to profile."""

    state: str = ""
    active: bool = False
    profiled: bool = False
    cuts: bool = False

    def done(self) -> set[str]:
        """The steps that are behind: pages of STEPS. The report is the end of the way, so it never is."""
        facts = {
            "model": bool(self.state), "profile": self.profiled, "plan": self.cuts,
            "run": self.cuts and self.state == "finished",
        }  # fmt: skip
        return {page for page, fact in facts.items() if fact}

    def next(self) -> str:
        """The page of the first step that is not done."""
        return next(page for page in STEPS if page not in self.done())

    def onward(self, page: str) -> str | None:
        """Where the button on a page leads: to the next step, but not away from cuts that are being watched, and
        nowhere without a run, since each page has its own way to begin then."""
        watching = page == "run" and self.active and self.cuts
        return None if not self.state or watching or self.next() == page else self.next()


def journey(run_id: str | None) -> Journey:
    """Read from the run's folder. A branch began with a profile of the run that it came from."""
    if run_id is None:
        return Journey()
    events = store.events(run_id)
    try:
        asked = store.spec_of(run_id)
        cuts, branch = bool(asked.step), asked.parent is not None
    except TrimError:
        cuts = branch = False
    profiled = branch or bool(tables.latest(events, "profiled"))
    status = store.status(run_id)
    return Journey(status.state, status.active, profiled, cuts)


def advice(page: str, way: Journey, network: str = "the network") -> str:
    """What to do on a page, in one or two sentences of Markdown. network: what is at hand, already plain."""
    return {"model": _model, "profile": _profile, "plan": _plan, "run": _run, "compare": _compare, "report": _report}[
        page
    ](way, network)


def _model(way: Journey, network: str) -> str:
    if way.state:
        return "A network is chosen and its run selected. To begin with another, choose it and profile it."
    return (f"Press **Profile this network**: {network} is trained and its zeros are counted, so that you see what can "
            "go before anything is cut.")  # fmt: skip


def _profile(way: Journey, network: str) -> str:
    if not way.state:
        return f"Press **Train and profile** below: {network} is trained first, then its zeros are counted."
    if not way.profiled and way.active:
        return "Nothing to press: the base network is being trained, and its APoZ appears here by itself."
    if not way.profiled:
        return "This run ended before it had a profile. **Run** has its log; **Model** begins anew."
    return ("Far to the right are neurons that are mostly zero. Move **Value** to choose how many go, then press "
            "**Plan with this rule**.")  # fmt: skip


def _plan(way: Journey, network: str) -> str:
    if not way.state:
        return "Press **Profile it first**: with a profile, this page can foresee what each rule would take."
    if not way.profiled and way.active:
        return "Rules can be previewed as soon as the network is profiled. **Profile** shows how far that is."
    if not way.profiled:
        return "This run ended before it had a profile. **Profile it first** trains and profiles the network anew."
    if way.cuts:
        return "This run has its plan. To try another, change the steps, begin from any iteration, and launch again."
    return ("Each card is a step; **Compression** tells what all of them would buy. When that pleases you, press "
            "**Launch**: each cut is followed by retraining.")  # fmt: skip


def _run(way: Journey, network: str) -> str:
    if not way.state:
        return BEGIN
    if way.state in control.RESUMABLE:
        return "It stands still. Press **Resume**: it goes on from its last epoch."
    if way.active and not way.cuts:
        return "Nothing to press: the base network is trained and profiled, and nothing is cut yet."
    if way.active:
        return ("Nothing to press: accuracy falls with each cut and should come back. **Stop…** ends it where it does "
                "not; what was finished is kept, and you may close this page.")  # fmt: skip
    if not way.cuts:
        return "This run only trained and profiled its base. Plan the cuts next."
    return "It is done. See whether accuracy came back after the last cut, then take the report."


def _compare(way: Journey, network: str) -> str:
    if not way.state:
        return BEGIN
    return "Off the way, for later: tick two runs or more, and see which is smaller at the same accuracy."


def _report(way: Journey, network: str) -> str:
    if not way.state:
        return BEGIN
    if "run" not in way.done():
        return "This page fills with each iteration; it is worth reading when the run has finished."
    return ("Download **report as HTML** for people, and **Prepare** the network for use. That was the way: put the "
            "guide away, or try another plan.")  # fmt: skip


def way_in_words(page: str, done: Collection[str]) -> str:
    """The steps as one line of Markdown: done ones with a tick, the one of this page in bold."""
    def told(number: int, name: str) -> str:
        mark = "✓" if name in done else f"{number}"
        text = f"**{STEPS[name]}**" if name == page else STEPS[name]
        return f":{'green' if name in done else 'primary' if name == page else 'gray'}[{mark}] {text}"

    steps = [told(number, name) for number, name in enumerate(STEPS, 1)]
    return " :gray[→] ".join(step.replace(" ", "\u00a0") for step in steps)


def wanted() -> bool:
    """Whether to show it: on the first visit, while there is no run; after that as it was asked for."""
    return st.session_state.setdefault("guide", not store.run_ids())


def _show(on: bool) -> None:
    st.session_state.guide = on


def button() -> None:
    """A quiet way to call the guide back, where it is not shown."""
    if not wanted():
        st.button("Show the guide", key="guide_on", type="tertiary", icon=":material/signpost:", on_click=_show,
                  args=(True,), help="Where you are on the way from a network to a report, and what to do on each "
                  "page.")  # fmt: skip


def strip(page: str) -> None:
    """The strip for a page, if the guide is wanted."""
    if not wanted():
        return
    way, draft = journey(work.selected_run()), work.draft()
    with st.container(key="guide", gap=None):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f":small[{way_in_words(page, way.done())}]", width="stretch")
            if to := way.onward(page):
                st.button(f"Next: {to.capitalize()}", key="guide_next", icon=":material/arrow_forward:",
                          icon_position="right", on_click=work.go_to, args=(to,), help=f"{STEPS[to]}.")  # fmt: skip
            st.button("Hide guide", key="guide_off", type="tertiary", icon=":material/close:", on_click=_show,
                      args=(False,), help="The side bar can bring it back.")  # fmt: skip
        told = advice(page, way, plain(f"{draft['model']} on {draft['data']}"))
        st.markdown(f":small[{told}]")
