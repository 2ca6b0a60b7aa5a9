#!/bin/bash
# Snakemake runs this once in a new conda environment, from the folder it was started in: the checkout.
python -m pip install --no-deps --editable .
