"""The page as `rag serve` starts it: `app.py`, and a cookie for every browser."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from pages._visitor import VisitorCookie

_FOLDER = Path(__file__).resolve().parent
# Streamlit puts this folder first, where a page would hide the library that has its name.
sys.path[:] = [folder for folder in sys.path if folder != str(_FOLDER)]

app = st.App(_FOLDER.parent / "app.py", middleware=[Middleware(VisitorCookie)])
