"""The guide: a strip at the top of each page for first-time users.

It lists the five steps from a network to a report, says what to do on this page, and links to the next step. The
completed steps are read from the selected run, not from clicks. The guide is shown on the first visit if there are no
runs, until the user hides it, and when the user asks for it.
"""

from collections.abc import Collection
from dataclasses import dataclass

import streamlit as st

from dashboard.session import drafts, navigation, run_reader
from dashboard.text import plain
from trimcore import tables
from trimcore.errors import TrimError
from trimcore.jobs import control
from trimcore.tables import ACCURACY, Metric

STEPS = {
    "model": "Choose a network", "profile": "Profile it", "plan": "Plan the cuts", "run": "Watch the run",
    "report": "Open the report",
}  # fmt: skip
NO_RUN = "Start on **Model**. This page needs a run."


@dataclass(frozen=True)
class Progress:
    """The progress of the selected run. state and active: as in `runs.Status`, "" without a run. cuts: whether its spec
    has steps, or it only profiles. metric: its headline metric."""

    state: str = ""
    active: bool = False
    profiled: bool = False
    cuts: bool = False
    metric: Metric = ACCURACY

    def done(self) -> set[str]:
        """The completed steps, as pages of STEPS. The report is the last step and never completed."""
        completed = {
            "model": bool(self.state), "profile": self.profiled, "plan": self.cuts,
            "run": self.cuts and self.state == "finished",
        }  # fmt: skip
        return {page for page, is_done in completed.items() if is_done}

    def next(self) -> str:
        """The page of the first step that is not completed."""
        return next(page for page in STEPS if page not in self.done())

    def next_page(self, page: str) -> str | None:
        """The page that the button on a page leads to: the next step. None while the user watches the cuts of an active
        run, and None without a run, because each page then has its own way to start."""
        watching = page == "run" and self.active and self.cuts
        return None if not self.state or watching or self.next() == page else self.next()


def progress_of(run_id: str | None) -> Progress:
    """The progress of a run, read from its folder. A branch has the profile of its parent."""
    if run_id is None:
        return Progress()
    events = run_reader.events(run_id)
    try:
        asked = run_reader.spec_of(run_id)
        cuts, branch = bool(asked.step), asked.parent is not None
    except TrimError:
        cuts = branch = False
    profiled = branch or bool(tables.latest(events, "profiled"))
    status = run_reader.status(run_id)
    return Progress(status.state, status.active, profiled, cuts, tables.metric_of(events))


def advice(page: str, progress: Progress, network: str = "the network") -> str:
    """What to do on a page, in one or two sentences of Markdown. network: the network and data, already escaped."""
    return {"model": _model, "profile": _profile, "plan": _plan, "run": _run, "queue": _queue, "compare": _compare,
            "report": _report}[page](progress, network)  # fmt: skip


def _model(progress: Progress, network: str) -> str:
    if progress.state:
        return "You have chosen a network and selected its run. To use another network, choose it and profile it."
    return (f"Press **Profile this network** to train {network} and count its zeros. This shows what can be removed "
            "before anything is cut.")  # fmt: skip


def _profile(progress: Progress, network: str) -> str:
    if not progress.state:
        return f"Press **Train and profile** below to train {network} and count its zeros."
    if not progress.profiled and progress.active:
        return "The base network is being trained. Its APoZ appears here when training has finished."
    if not progress.profiled:
        return "This run ended before it was profiled. See its log on **Run**, or start again on **Model**."
    return ("Neurons far to the right are mostly zero. Move **Value** to choose how many to remove, then press "
            "**Plan with this rule**.")  # fmt: skip


def _plan(progress: Progress, network: str) -> str:
    if not progress.state:
        return "Press **Profile it first**. With a profile, this page can preview what each rule would remove."
    if not progress.profiled and progress.active:
        return "You can preview rules as soon as the network is profiled. **Profile** shows the progress."
    if not progress.profiled:
        return "This run ended before it was profiled. Press **Profile it first** to train and profile the network."
    if progress.cuts:
        return "This run has a plan. To try another, change the steps, start from any iteration, and launch again."
    return ("Each card is a step, and **Compression** shows the size after all of them. When you are satisfied, press "
            "**Launch**. The run retrains after each cut.")  # fmt: skip


def _run(progress: Progress, network: str) -> str:
    if not progress.state:
        return NO_RUN
    if progress.state in control.RESUMABLE:
        return "The run is not active. Press **Resume** to continue from its last finished epoch."
    if progress.active and not progress.cuts:
        return "The base network is being trained and profiled. Nothing is cut yet."
    if progress.active:
        moves = "drops" if progress.metric.higher_is_better else "rises"
        return (f"{plain(progress.metric.title)} {moves} with each cut and should recover. If it does not, press "
                "**Stop…**. Finished epochs are kept. You can close this page; the run continues.")  # fmt: skip
    if not progress.cuts:
        return "This run only trained and profiled its base network. Plan the cuts next."
    name = plain(progress.metric.name)
    return f"The run has finished. Check whether {name} recovered after the last cut, then open the report."


def _queue(progress: Progress, network: str) -> str:
    return "This page is optional. Runs on one device wait for each other here; you can change who goes first."


def _compare(progress: Progress, network: str) -> str:
    if not progress.state:
        return NO_RUN
    name = plain(progress.metric.name)
    return f"This page is optional. Select two or more runs to see which is smaller at the same {name}."


def _report(progress: Progress, network: str) -> str:
    if not progress.state:
        return NO_RUN
    if "run" not in progress.done():
        return "This page is updated after each iteration. Come back when the run has finished."
    return ("Download the **HTML report** to share the results, and **Export** the network to use it. This was the "
            "last step: hide the guide, or try another plan.")  # fmt: skip


def steps_text(page: str, done: Collection[str]) -> str:
    """The steps as one line of Markdown: a tick for completed steps, bold for the step of this page."""
    def step_text(number: int, name: str) -> str:
        mark = "✓" if name in done else f"{number}"
        text = f"**{STEPS[name]}**" if name == page else STEPS[name]
        return f":{'green' if name in done else 'primary' if name == page else 'gray'}[{mark}] {text}"

    steps = [step_text(number, name) for number, name in enumerate(STEPS, 1)]
    return " :gray[→] ".join(step.replace(" ", "\u00a0") for step in steps)


def is_shown() -> bool:
    """Whether to show the guide: on the first visit, while there are no runs; after that, as the user chose."""
    shown: bool = st.session_state.setdefault("guide", not run_reader.run_ids())
    return shown


def _show(on: bool) -> None:
    st.session_state.guide = on


def show_button() -> None:
    """A button that shows the guide again, while it is hidden."""
    if not is_shown():
        st.button("Show the guide", key="guide_on", type="tertiary", icon=":material/signpost:", on_click=_show,
                  args=(True,), help="The steps from a network to a report, and what to do on each page.")  # fmt: skip


def strip(page: str) -> None:
    """The strip for a page, if the guide is shown."""
    if not is_shown():
        return
    progress, draft = progress_of(navigation.selected_run()), drafts.draft()
    with st.container(key="guide", gap=None):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f":small[{steps_text(page, progress.done())}]", width="stretch")
            if to := progress.next_page(page):
                st.button(f"Next: {to.capitalize()}", key="guide_next", icon=":material/arrow_forward:",
                          icon_position="right", on_click=navigation.go_to, args=(to,),
                          help=f"{STEPS[to]}.")  # fmt: skip
            st.button("Hide guide", key="guide_off", type="tertiary", icon=":material/close:", on_click=_show,
                      args=(False,), help="You can show it again from the sidebar.")  # fmt: skip
        text = advice(page, progress, plain(f"{draft['model']} on {draft['data']}"))
        st.markdown(f":small[{text}]")
