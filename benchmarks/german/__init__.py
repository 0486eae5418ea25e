"""Daily PM10 of German stations: new stations and years ahead, beside rivals."""
