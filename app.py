"""The web page: its frame, and the page that was chosen."""

from __future__ import annotations

import streamlit as st
from starlette.middleware import Middleware

from pages import _ui as ui
from pages._visitor import VisitorCookie

if __name__ == "__main__":
    # Streamlit runs this file for every visit,
    ui.frame().run()
else:
    # and imports it once to serve it.
    app = st.App(__file__, middleware=[Middleware(VisitorCookie)])
