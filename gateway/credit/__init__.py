"""The credit window: what an organisation may still spend, decided in Redis, rebuilt from PostgreSQL at any moment.

A hold ends in exactly one of four ways: ``placed -> running(epoch) -> posted | voided | expired`` and
``placed -> voided | expired``. Money here is integers of micro-won (10^-6 won), rounded up once per request.
"""
