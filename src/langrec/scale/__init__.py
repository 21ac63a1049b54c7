"""The same steps on several processes or machines, by Ray: encoding, training, trials."""
