"""DICOM, de-identified."""
