"""Operations on printed pages: the ink, the paper and the light on it, and a scan of the sheet."""
