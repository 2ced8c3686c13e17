"""Methods that make synthetic images, one file each, behind one small interface (`method.py`)."""
