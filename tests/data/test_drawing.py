"""Text that pictures can show."""

from dreamda_jax.data.drawing import drawable


def test_class_names_are_drawn_without_what_the_font_lacks():
    assert drawable("chat tigré & fusée") == "chat tigre & fusee"
    assert drawable("日本 t-shirt") == "?? t-shirt"
