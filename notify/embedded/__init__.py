"""The whole system on one laptop, on real parts; never needed in production."""
