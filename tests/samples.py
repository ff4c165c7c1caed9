"""Real files that tests read and the project does not carry; without them those tests are skipped, and say so.

The folder that HMCHAIN_SAMPLES names, else shared/data beside the checkout, holds

    medmnist/   official 28x28 files of MedMNIST v2 (CC BY 4.0; Zenodo record 10519652): breastmnist.npz,
                pneumoniamnist.npz, organamnist.npz
    samples/    public, synthetic and test records, in a folder for each family:
                fhir (Synthea's R4 bundles of smart-on-fhir/generated-sample-data, one of microsoft/FHIR-Converter),
                hl7v2 (microsoft/FHIR-Converter; NIST's cases, of MatthewVita/node-hl7-complete), dicom (pydicom's own),
                genomics (Debian's htslib-test), eeg (pyedflib's and MNE's own), lis (laboratory values of the bundles),
                wearables (tdda/applehealthdata, openmhealth/shimmer, openmhealth/schemas)
"""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("HMCHAIN_SAMPLES") or Path(__file__).resolve().parents[2] / "shared/data").absolute()
RECORDS = FOLDER / "samples"
MEDMNIST = FOLDER / "medmnist"

needs_samples = pytest.mark.skipif(not RECORDS.is_dir(), reason="no sample records: see tests/samples.py")
needs_medmnist = pytest.mark.skipif(not MEDMNIST.is_dir(), reason="no official MedMNIST files: see tests/samples.py")


def header(folder: Path = FOLDER) -> str:
    """What pytest says of them at its beginning."""
    missing = [name for name in (RECORDS.name, MEDMNIST.name) if not (folder / name).is_dir()]
    if not missing:
        return f"real files: {folder}"
    return f"real files: no {' and no '.join(missing)} in {folder}, tests that need them are skipped (tests/samples.py)"
