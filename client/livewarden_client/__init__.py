"""The caller's side of Livewarden: numpy and tritonclient, nothing else."""
