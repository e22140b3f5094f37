"""Parts that the pages share. Streamlit and Plotly live here and in the pages, nowhere else."""
