"""python -m dreamda_jax.finetune: the U-Net, LoRA or new tokens, adapted to a set."""
