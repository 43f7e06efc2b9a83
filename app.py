"""The web page's frame: title, navigation, and the page that was chosen."""

from __future__ import annotations

import streamlit as st

st.set_page_config(page_title="RankLens", page_icon=":material/frame_inspect:", layout="centered")
page = st.navigation(
    [
        st.Page("pages/ask.py", title="Ask", icon=":material/forum:", default=True),
        st.Page("pages/library.py", title="Library", icon=":material/folder_open:"),
    ]
)
page.run()
