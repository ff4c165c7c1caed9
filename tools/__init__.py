"""What developers need beside the package: the compiler, the compiled artifacts, the gate's own checks."""
