"""Which folders the wheel holds, and where; all else about it stands in pyproject.toml.

The app lies beside the package in a checkout, so that `streamlit run app.py` works, and inside it in a wheel, so that
no top-level `pages` is installed. Streamlit puts the folder of app.py on sys.path in both.
"""

from setuptools import find_namespace_packages, find_packages, setup

pages = find_namespace_packages(include=["pages", "pages.*"], exclude=["*.assets"])

setup(
    packages=[
        *find_packages(include=["sds_core", "sds_core.*"]),
        "sds_core.app",
        *(f"sds_core.app.{p}" for p in pages),
    ],
    package_dir={"sds_core.app": ".", "sds_core.app.pages": "pages"},
)
