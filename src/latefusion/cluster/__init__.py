"""Past one machine: the folder mode on Ray, from and to object storage."""
