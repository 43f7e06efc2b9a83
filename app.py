"""The web page: its frame, and the page that was chosen."""

from __future__ import annotations

import streamlit as st
from starlette.middleware import Middleware

from pages import _ui as ui
from pages._headers import Closed, SafetyHeaders
from pages._messages import OnlyThePage
from pages._people import FilesOfPeople
from pages._visitor import VisitorCookie
from rag.serving import start_log

if __name__ == "__main__":
    # Streamlit runs this file for every visit,
    try:
        ui.frame().run()
    finally:
        ui.REST.after_work()
else:
    # and imports it once to serve it.
    around = (SafetyHeaders, Closed, OnlyThePage, FilesOfPeople, VisitorCookie)
    start_log()
    app = st.App(
        __file__,
        middleware=[Middleware(one) for one in around],
        on_script_error=ui.unexpected_shown,
    )
