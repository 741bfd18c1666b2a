"""The course's widgets: each moves tensors of the model in the reader's kernel."""
