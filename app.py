"""The web page's frame: title, navigation, and the page that was chosen."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

PAGES = Path(__file__).parent / "pages"

# An icon of our own: Streamlit fetches named ones from the internet.
st.set_page_config(page_title="RankLens", page_icon=str(PAGES / "icon.svg"))
st.logo(str(PAGES / "logo.svg"), size="large", icon_image=str(PAGES / "icon.svg"))
page = st.navigation(
    [
        st.Page("pages/ask.py", title="Ask", icon=":material/forum:", default=True),
        st.Page("pages/library.py", title="Library", icon=":material/folder_open:"),
    ]
)
page.run()
