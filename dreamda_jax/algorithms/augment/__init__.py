"""Augmentations on the device, in JAX.

Value range and layout, everywhere but where a docstring says otherwise: images are uint8 sRGB,
0..255, channels last, [h, w, 3] for an operation and [b, h, w, 3] for its random version. Views for
a network, and what is done to them (erasing, mixing), are float32 after (x / 255 - mean) / std.

`keys` is a key array [b], one key per row, and a row depends on its own key and pixels only: not on
the batch it is in or the device that holds it. Pixels are computed in whole numbers wherever a
fraction is cut off, so that they do not depend on how a compiler contracts floating-point products
either.
"""
