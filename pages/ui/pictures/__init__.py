"""Custom pictures beside Streamlit's widgets: SVG drawn in the browser from the numbers of a page.

Each picture has a module here, with the numbers it is drawn from and a `mount`:

    from pages.ui.pictures import studio

    def picked(pick: Mapping[str, Any]) -> None:   # the names of `studio.View`, to be checked: they come from outside
        st.query_params.update({"run": pick["run"], "stage": pick["stage"]})

    @st.fragment(run_every=0.5 if live else None)
    def board() -> None:
        studio.mount(reader.numbers(st.query_params), key="studio", on_pick=picked)

The state is the address: the callback writes it, the next run of the page reads it and passes on the numbers of what
it names. A picture shows a pick at once and takes the answer when it comes; each pick carries a counter, so an answer
to an older one does not undo it. Files are served once: a poll without news sends nothing, and one with news numbers
only, less than 15 kB for a block of the Studio. A test of a page reads them: AppTest's
`at.get("bidi_component")[0].proto.json`.

A component is as tall as its page lets it be: `--above`, set by the page's style sheet on any element around it, is the
height in px of all that stands above.
"""
