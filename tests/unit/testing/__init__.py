"""The overlay on moto: what users' CI learns of AWS."""
