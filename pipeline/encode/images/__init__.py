"""From image files to pixels: decoding, DICOM, preprocessing."""
