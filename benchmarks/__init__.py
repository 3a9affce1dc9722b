"""What Batchscope claims of its speed, each row side by side with what it is compared to."""
